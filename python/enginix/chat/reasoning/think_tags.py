"""Reasoning between `<think>` and `</think>`, stripped of surrounding white space."""

from __future__ import annotations

from enginix.chat.blocks import Opening, ReasoningFormat, partial_marker
from enginix.chat.events import Event, Reasoning

OPEN = "<think>"
CLOSE = "</think>"


class ThinkTags:
    """A block that ends with its closing tag; without the tag everything is reasoning."""

    __slots__ = ("_close", "_held", "_started", "done", "rest")

    def __init__(self, close: str = CLOSE) -> None:
        self.done = False
        self.rest = ""
        self._close = close
        self._started = False
        self._held = ""

    @property
    def triggers(self) -> frozenset[str] | None:
        """Text without these, and without white space at its end, passes; None if any is held."""
        return None if self._held or not self._started else frozenset(self._close[0])

    def feed(self, text: str) -> list[Event]:
        plain = self._started and not self._held and self._close[0] not in text
        if plain and text and not text[-1].isspace():
            return [Reasoning(text)]
        text = self._held + text
        thought, tag, self.rest = text.partition(self._close)
        if tag:
            self.done, self._held = True, ""
            thought = thought.rstrip()
        else:
            # Hold back white space too: before the closing tag it belongs to the tag.
            thought = text[: len(text) - partial_marker(text, self._close)].rstrip()
            self._held = text[len(thought) :]
        return self._reasoning(thought)

    def finish(self) -> list[Event]:
        held, self._held = self._held.rstrip(), ""
        return self._reasoning(held)

    def _reasoning(self, text: str) -> list[Event]:
        if not self._started:
            text = text.lstrip()
            self._started = bool(text)
        return [Reasoning(text)] if text else []


# Only before the answer: an answer that mentions the tag must keep it.
THINK_TAGS = ReasoningFormat((OPEN, CLOSE), Opening(OPEN, ThinkTags, only_first=True))
