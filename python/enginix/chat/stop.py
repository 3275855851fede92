"""Finds stop strings in a stream of text, across chunks, holding back only a possible match."""

from __future__ import annotations

import re
from collections.abc import Sequence

from enginix.chat.events import Answer, Event
from enginix.errors import RequestError


class StopStrings:
    """Text in, text before the first stop string out; `matched` is the string that was found.

    The match that ends first wins, so that any chunking gives the same text. Each string has an
    automaton: the work per character does not grow with what is held.
    """

    __slots__ = ("_automata", "_held", "_idle", "_next_start", "matched")

    def __init__(self, strings: Sequence[str]) -> None:
        if "" in strings:
            raise RequestError(
                "stop contains an empty string, which would end every answer before it starts; "
                "leave it out",
                param="stop",
                code="invalid_stop",
            )
        self.matched: str | None = None
        self._automata = [_Automaton(string) for string in dict.fromkeys(strings)]
        firsts = "".join(sorted({re.escape(string[0]) for string in strings}))
        self._next_start = re.compile(f"[{firsts}]").search if strings else None
        self._held = ""
        self._idle = True

    def feed(self, text: str) -> str:
        if self._idle and (self._next_start is None or self._next_start(text) is None):
            return text
        return self._follow(text) if self.matched is None else ""

    def finish(self) -> str:
        held, self._held = self._held, ""
        return held

    def _follow(self, text: str) -> str:
        before = len(self._held)
        text = self._held + text
        at = before
        while at < len(text):
            if not any(automaton.length for automaton in self._automata):
                at = self._find_start(text, at)
            if at == len(text):
                break
            char = text[at]
            at += 1
            ended = [automaton.string for automaton in self._automata if automaton.step(char)]
            if ended:
                self.matched = max(ended, key=len)
                self._held, self._idle = "", False
                return text[: at - len(self.matched)]
        cut = len(text) - max(automaton.length for automaton in self._automata)
        self._held = text[cut:]
        self._idle = not self._held
        return text[:cut]

    def _find_start(self, text: str, at: int) -> int:
        assert self._next_start is not None
        found = self._next_start(text, at)
        return found.start() if found else len(text)


class AnswerStop:
    """Applies stop strings to a reply's events: they end its answer, and only that.

    Reasoning and call arguments may contain the same characters, and clients that always send stop
    strings do not mean those. A match does not span a call or reasoning.
    """

    __slots__ = ("_stop", "_strings", "matched")

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = strings
        self._stop = StopStrings(strings)
        self.matched: str | None = None

    @property
    def looks(self) -> bool:
        """Whether there are strings to look for."""
        return bool(self._strings)

    def feed(self, events: list[Event]) -> list[Event]:
        """The events before the first stop string; none after it."""
        if not self._strings:
            return events
        passed: list[Event] = []
        for event in events:
            if self.matched is not None:
                break
            if isinstance(event, Answer):
                passed += _answer(self._stop.feed(event.text))
                self.matched = self._stop.matched
            else:
                passed += self.finish()
                passed.append(event)
        return passed

    def finish(self) -> list[Event]:
        """Release text held back as a possible stop string: it belongs to the answer."""
        held = self._stop.finish()
        if held:
            self._stop = StopStrings(self._strings)
        return _answer(held)


def _answer(text: str) -> list[Event]:
    return [Answer(text)] if text else []


class _Automaton:
    """Knuth-Morris-Pratt: the longest prefix of the string that the text so far ends with."""

    __slots__ = ("_fallback", "length", "string")

    def __init__(self, string: str) -> None:
        self.string = string
        self.length = 0
        self._fallback = _borders(string)

    def step(self, char: str) -> bool:
        length = self.length
        while length and self.string[length] != char:
            length = self._fallback[length - 1]
        if self.string[length] == char:
            length += 1
        self.length = length
        return length == len(self.string)


def _borders(string: str) -> list[int]:
    """For every prefix, the length of its longest proper border."""
    borders = [0] * len(string)
    for end in range(1, len(string)):
        length = borders[end - 1]
        while length and string[length] != string[end]:
            length = borders[length - 1]
        borders[end] = length + (string[length] == string[end])
    return borders
