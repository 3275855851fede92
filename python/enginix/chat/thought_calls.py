"""Finds calls that a model wrote inside its reasoning before it stopped.

Models forget to end their reasoning before they call. A complete call of a known function that
ends the reply counts as a call. Everything else in the reasoning stays reasoning, including tags
that the model only mentions. Text is held from a marker on until it is clear which case it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from enginix.chat.blocks import partial_marker
from enginix.chat.events import (
    Answer,
    Event,
    Reasoning,
    ToolCallArguments,
    ToolCallStart,
    collect,
)
from enginix.chat.tools.calls import Calls


class Parser(Protocol):
    def feed(self, text: str) -> list[Event]: ...

    def finish(self) -> list[Event]: ...


class ThoughtCalls:
    """A filter after a parser: events in, events out."""

    __slots__ = ("_calls", "_events", "_held", "_markers", "_names", "_new_parser", "_trial")

    def __init__(
        self, markers: Sequence[str], new_parser: Callable[[], Parser], calls: Calls
    ) -> None:
        """`new_parser` parses text that may be calls; `calls` numbers those it finds."""
        self._markers = tuple(markers)
        self._new_parser = new_parser
        self._calls = calls
        self._names = calls.names
        self._held: list[str] = []
        self._trial: Parser | None = None
        self._events: list[Event] = []

    @property
    def holds(self) -> bool:
        return any(self._held) or self._trial is not None

    @property
    def triggers(self) -> frozenset[str]:
        """What the text of a call begins with."""
        return frozenset(marker[0] for marker in self._markers)

    def read(self, events: Sequence[Event]) -> list[Event]:
        passed: list[Event] = []
        for event in events:
            if isinstance(event, Reasoning):
                self._think(event.text, passed)
            else:
                self._release(passed)
                passed.append(event)
        return passed

    def finish(self, *, cut: bool) -> list[Event]:
        """`cut`: a limit ended the reply, so the model may not have meant to stop here."""
        passed: list[Event] = []
        if self._trial is not None and not cut:
            self._events += self._trial.finish()
            message = collect(self._events)
            whole = all(call.whole for call in message.tool_calls)
            if message.tool_calls and whole and not message.content.strip():
                for call in message.tool_calls:
                    start = self._calls.start(call.name)
                    passed += [start, ToolCallArguments(start.index, call.arguments)]
                return passed
        self._release(passed)
        return passed

    def _think(self, text: str, passed: list[Event]) -> None:
        if self._trial is None:
            self._held.append(text)
            text = self._take_held()
        while text:
            text = (
                self._find_marker(text, passed) if self._trial is None else self._try(text, passed)
            )

    def _find_marker(self, text: str, passed: list[Event]) -> str:
        """Pass on the text before a marker; return the rest."""
        found = [at for marker in self._markers if (at := text.find(marker)) >= 0]
        cut = min(found) if found else len(text) - self._partial_marker(text)
        # White space before a call belongs to neither.
        thought = text[:cut].rstrip() if cut < len(text) else text
        if thought:
            passed.append(Reasoning(thought))
        if found:
            self._trial = self._new_parser()
        self._held.append(text[len(thought) : cut] if found else text[len(thought) :])
        return text[cut:] if found else ""

    def _try(self, text: str, passed: list[Event]) -> str:
        """Parse while the text may be calls; one character at a time, so chunking cannot matter."""
        assert self._trial is not None
        for at, char in enumerate(text):
            events = self._trial.feed(char)
            self._held.append(char)
            self._events += events
            if events and not all(map(self._may_be_call, events)):
                held = self._take_held()
                end = len(held) - self._partial_marker(held)
                self._held = [held[:end]]
                self._release(passed)
                return held[end:] + text[at + 1 :]
        return ""

    def _may_be_call(self, event: Event) -> bool:
        if isinstance(event, ToolCallStart):
            return event.name in self._names
        return not isinstance(event, Answer) or event.text.isspace()

    def _partial_marker(self, text: str) -> int:
        return max(partial_marker(text, marker) for marker in self._markers)

    def _release(self, passed: list[Event]) -> None:
        """Pass on the held text: it is reasoning."""
        if held := self._take_held():
            passed.append(Reasoning(held))
        self._trial, self._events = None, []

    def _take_held(self) -> str:
        held = "".join(self._held)
        self._held = []
        return held
