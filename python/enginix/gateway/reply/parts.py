"""Splits one reply's events into parts, for dialects with items or blocks."""

from __future__ import annotations

from typing import NamedTuple

from enginix.chat.arguments import is_whole
from enginix.chat.events import Answer, Event, Reasoning, ToolCallArguments, ToolCallStart
from enginix.generation.reply import TokenLogprob


class ScoredText(NamedTuple):
    """Text of the answer and the tokens that came with it, some of which may be markup."""

    text: str
    tokens: tuple[TokenLogprob, ...]


class Part:
    """A run of reasoning, a run of answer text, or one call; `kind` is its events' class."""

    __slots__ = ("call", "index", "kind", "scored", "texts")

    def __init__(self, index: int, kind: type[Event], call: ToolCallStart | None = None) -> None:
        self.index = index
        self.kind = kind
        self.call = call
        self.texts: list[str] = []
        self.scored: list[ScoredText] = []

    @property
    def text(self) -> str:
        """All text so far, or a call's arguments so far."""
        return "".join(self.texts)

    @property
    def whole(self) -> bool:
        """Whether nothing is missing: the arguments of a call that was cut have no end."""
        return self.call is None or is_whole(self.text)


class Parts:
    """One choice's parts, in their order. They have their text if it comes through `add`."""

    def __init__(self) -> None:
        self.all: list[Part] = []
        self._last: Part | None = None
        self._tokens: tuple[TokenLogprob, ...] = ()

    def add_logprobs(self, tokens: tuple[TokenLogprob, ...]) -> None:
        """Keep the tokens of the next event."""
        self._tokens += tokens

    def add(self, event: Event) -> tuple[Part, str]:
        """The part that `event` belongs to, which it may begin, and its text."""
        part, text = self.find(event)
        part.texts.append(text)
        if self._tokens:
            if part.kind is Answer:
                part.scored.append(ScoredText(text, self._tokens))
            self._tokens = ()
        return part, text

    def find(self, event: Event) -> tuple[Part, str]:
        """As `add`; the part keeps nothing."""
        match event:
            case Answer(text) | Reasoning(text):
                part = self._last
                if part is None or part.kind is not event.__class__:
                    part = self._begin(event.__class__)
                return part, text
            case ToolCallStart():
                return self._begin(ToolCallStart, event), ""
            case ToolCallArguments(_, text):
                assert self._last is not None, "a call starts before its arguments"
                return self._last, text

    def plain(self, kind: type[Event]) -> Part | None:
        """The part to which events of `kind` add their text and nothing else; None for another."""
        part = self._last
        return part if part is not None and part.kind is kind and not self._tokens else None

    def _begin(self, kind: type[Event], call: ToolCallStart | None = None) -> Part:
        self._last = Part(len(self.all), kind, call)
        self.all.append(self._last)
        return self._last
