"""The input of a custom tool: text that the model writes as a function's only argument."""

from __future__ import annotations

import json
import re
from typing import Any

BEGIN = re.compile(r'\s*\{\s*"input"\s*:\s*"')
SPECIAL = re.compile(r'["\\]')


def whole_input(arguments: str) -> str | None:
    """The text that finished arguments hold; None where they were cut off.

    A part of a text is a text, too: what a client would run of a call that was cut off is not what
    the model meant, so there is no such call.
    """
    try:
        value: Any = json.loads(arguments)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        texts = [value["input"]] if "input" in value else list(value.values())
        if len(texts) == 1 and isinstance(texts[0], str):
            return texts[0]
    return arguments


class InputText:
    """The same text as it comes; `rest` is what is unsent when all of it is there."""

    def __init__(self) -> None:
        self._arguments = ""
        self._place: int | None = None
        self._sent: list[str] = []

    def feed(self, fragment: str) -> str:
        self._arguments += fragment
        if self._place is None:
            begin = BEGIN.match(self._arguments)
            if begin is None:
                return ""
            self._place = begin.end()
        text = self._decoded()
        self._sent.append(text)
        return text

    def rest(self, whole: str) -> str:
        sent = "".join(self._sent)
        return whole[len(sent) :] if whole.startswith(sent) else ""

    def _decoded(self) -> str:
        """The text decoded so far; an incomplete escape sequence waits for its rest."""
        assert self._place is not None, "the string has started"
        texts: list[str] = []
        while (place := self._place) < len(self._arguments):
            special = SPECIAL.search(self._arguments, place)
            end = special.start() if special else len(self._arguments)
            texts.append(self._arguments[place:end])
            self._place = end
            if special is None or special[0] == '"':
                break
            length = _escape_length(self._arguments, end)
            if end + length > len(self._arguments):
                break
            try:
                texts.append(json.loads(f'"{self._arguments[end : end + length]}"'))
            except ValueError:
                break
            self._place = end + length
        return "".join(texts)


def _escape_length(text: str, place: int) -> int:
    if text[place + 1 : place + 2] != "u":
        return 2
    # Half of a surrogate pair is not a character.
    high = text[place + 2 : place + 4].lower() in ("d8", "d9", "da", "db")
    return 12 if high else 6
