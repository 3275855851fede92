"""Reasoning between `<think>` and `</think>`, without the white space that surrounds it."""

from __future__ import annotations

from enginix.chat.blocks import Opening, ReasoningFormat, partial_marker
from enginix.chat.events import Event, Reasoning

OPEN = "<think>"
CLOSE = "</think>"


class ThinkTags:
    """A block that ends with its closing tag; one that never ends is reasoning all the same."""

    __slots__ = ("_begun", "_close", "_held", "done", "rest")

    def __init__(self, close: str = CLOSE) -> None:
        self.done = False
        self.rest = ""
        self._close = close
        self._begun = False
        self._held = ""

    def feed(self, text: str) -> list[Event]:
        plain = self._begun and not self._held and self._close[0] not in text
        if plain and text and not text[-1].isspace():
            return [Reasoning(text)]
        text = self._held + text
        said, tag, self.rest = text.partition(self._close)
        if tag:
            self.done, self._held = True, ""
            said = said.rstrip()
        else:
            # White space waits too: in front of the closing tag it belongs to the tag.
            said = text[: len(text) - partial_marker(text, self._close)].rstrip()
            self._held = text[len(said) :]
        return self._said(said)

    def finish(self) -> list[Event]:
        held, self._held = self._held.rstrip(), ""
        return self._said(held)

    def _said(self, text: str) -> list[Event]:
        if not self._begun:
            text = text.lstrip()
            self._begun = bool(text)
        return [Reasoning(text)] if text else []


# Only before the answer: an answer that talks about the tag must not vanish into it.
THINK_TAGS = ReasoningFormat((OPEN, CLOSE), Opening(OPEN, ThinkTags, only_first=True))
