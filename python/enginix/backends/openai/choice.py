"""One choice of another server's chat completion, from its deltas to the events of a reply.

Reasoning and calls that the server has separated are taken as they are; its text goes through the
parser of the formats that it leaves in there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from enginix.backends.openai.calls import ServerCalls
from enginix.chat.events import Event, Reasoning, ToolCallStart
from enginix.chat.made_calls import MadeCalls
from enginix.chat.reply import reply_parser
from enginix.chat.stop import AnswerStop
from enginix.errors import GenerationFailed
from enginix.generation.reply import (
    Finished,
    FinishReason,
    Logprobs,
    ReplyEvent,
    ReplyFormat,
)

# The engine gave up: the answer did not end by itself.
FAILURES = frozenset({"abort", "cancelled", "error"})


class Choice:
    """`done` once its finish reason is known."""

    def __init__(self, format: ReplyFormat) -> None:
        self._parser = reply_parser(
            format.reasoning,
            format.tools,
            starts_inside=format.starts_inside,
            tools_wanted=bool(format.definitions),
            definitions=format.definitions,
        )
        self._stop = AnswerStop(format.stop)
        self._calls = ServerCalls()
        self._one_call = format.one_call
        self._made = MadeCalls()
        self._reason: FinishReason = "stop"
        self._stop_string: str | None = None
        self.done = False
        self.cut = False
        """It is done here; the server continues."""
        self.chunks = 0
        """How many deltas had something in them, for servers that do not count their tokens."""
        self.reasoning_chunks = 0
        self._reasons = format.starts_inside

    def read(self, choice: Mapping[str, Any]) -> list[ReplyEvent]:
        """The events of one delta; none after the end."""
        events: list[ReplyEvent] = []
        if self.done:
            return events
        logprobs = choice.get("logprobs")
        if isinstance(logprobs, dict) and isinstance(entries := logprobs.get("content"), list):
            events.append(Logprobs(tuple(each for each in entries if isinstance(each, dict))))
        delta = choice.get("delta")
        if isinstance(delta, dict):
            self._add(self._stop.feed(self._read_delta(delta)), events)
        if self._stop.matched is not None:
            # The server generates on: it does not know the string.
            self._stop_string = self._stop.matched
            self.done = self.cut = True
            return events
        if (reason := choice.get("finish_reason")) is not None:
            self._end(str(reason), choice, events)
        return events

    def break_off(self) -> list[ReplyEvent]:
        """End the choice of a stream that ended without a finish reason."""
        events: list[ReplyEvent] = []
        if not self.done:
            self._end("stop", {}, events)
        return events

    def finished(
        self,
        tokens: int,
        prompt_tokens: int | None,
        reasoning_tokens: int,
        cached_tokens: int | None = None,
    ) -> Finished:
        reason = self._reason
        if reason == "stop" and self._made.whole:
            # Whatever the server's reason is: clients run calls only for this one.
            reason = "tool_calls"
        return Finished(
            reason, tokens, reasoning_tokens, self._stop_string, prompt_tokens, cached_tokens
        )

    def _read_delta(self, delta: Mapping[str, Any]) -> list[Event]:
        new: list[Event] = []
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if reasoning and isinstance(reasoning, str):
            new += self._parser.pass_through([Reasoning(reasoning)])
        text = delta.get("content")
        if text and isinstance(text, str):
            new += self._parser.feed(text)
        if calls := delta.get("tool_calls"):
            new += self._parser.pass_through(self._calls.read(calls))
        if text or reasoning or calls:
            if new:
                self._reasons = new[-1].__class__ is Reasoning
            self.chunks += 1
            self.reasoning_chunks += self._reasons
        return new

    def _add(self, new: list[Event], events: list[ReplyEvent]) -> None:
        for event in new:
            if isinstance(event, ToolCallStart) and self._made.any and self._one_call:
                # The client requested a single call; ignore the rest.
                self.done = self.cut = True
                return
            self._made.read(event)
            events.append(event)

    def _end(self, reason: str, choice: Mapping[str, Any], events: list[ReplyEvent]) -> None:
        if reason in FAILURES:
            raise GenerationFailed(f"the server gave the answer up, as {reason!r}")
        cut = reason == "length"
        new = self._parser.pass_through(self._calls.finish(cut=cut))
        new += self._parser.finish(cut=cut)
        self._add(self._stop.feed(new) + self._stop.finish(), events)
        self.done = True
        stopped = self._stop.matched is not None
        self._reason = "length" if reason == "length" and not stopped else "stop"
        stop = choice.get("stop_reason")
        self._stop_string = self._stop.matched or (stop if isinstance(stop, str) else None)
