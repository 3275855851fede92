"""Reads one choice of a reply from its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Any

from enginix.chat.events import Answer, Event, Reasoning, ToolCallStart
from enginix.chat.made_calls import MadeCalls
from enginix.chat.pieces import PlainEvents
from enginix.chat.reply import markers
from enginix.chat.stop import AnswerStop
from enginix.chat.stream import ReplyStream
from enginix.gateway.models.engine_model import EngineModel
from enginix.gateway.reply.reader import reply_reader
from enginix.generation.reply import (
    Counted,
    Finished,
    FinishReason,
    Logprobs,
    ReplyEvent,
    ReplyFormat,
    TokenLogprob,
)
from enginix.generation.request import ScoredToken, TokenChunk, TokenRequest


class Choice:
    """Reads one choice of a reply from its token chunks, up to its end and the reason for it."""

    __slots__ = (
        "_calls",
        "_counts",
        "_most_tokens",
        "_must_call",
        "_one_call",
        "_prefill",
        "_prompt_ids",
        "_prompt_tokens",
        "_reasons",
        "_reply",
        "_thinks",
        "_tokenizer",
        "_tokens_per_block",
        "_tools",
        "cached_tokens",
        "done",
        "plain",
        "reasoning_tokens",
        "tokens",
    )

    def __init__(self, model: EngineModel, format: ReplyFormat, request: TokenRequest) -> None:
        self._tokenizer = model.tokenizer
        self._reply, self._prefill = reply_stream(model, format)
        self._most_tokens = request.max_tokens
        self._prompt_tokens = len(request.prompt_ids)
        # Only for their scores: a long prompt is not kept for as long as its answer lasts.
        self._prompt_ids = request.prompt_ids if request.prompt_logprobs else ()
        self._tokens_per_block = model.tokens_per_block
        self.cached_tokens: int | None = None
        self._tools = bool(format.definitions)
        self._one_call = format.one_call
        self._must_call = format.must_call
        self._counts = format.counts
        self._calls = MadeCalls()
        self._reasons = format.starts_inside
        self._thinks = markers(format.reasoning, None)
        # Where the next tokens are looked up, once they are known to change nothing.
        self.plain: PlainEvents | None = None
        self.done = False
        self.tokens = 0
        self.reasoning_tokens = 0

    def read(self, chunks: Sequence[TokenChunk]) -> list[ReplyEvent]:
        events: list[ReplyEvent] = []
        if self._prefill:
            events += self._prefill
            self._prefill = []
            self._look_for_calls(events)
        for ids, logprobs, final, top, reused_blocks, prompt in chunks:
            if reused_blocks is not None:
                self._read_reused(reused_blocks)
            if prompt is not None:
                self._echo(prompt, events)
                if not self._most_tokens:
                    self._end("length", events)
                    break
            if ids:
                if logprobs:
                    places = map(self._logprob, ids, logprobs, top or repeat(()))
                    events.append(Logprobs(tuple(places)))
                self._read_tokens(ids, events)
            if final and not self.done:
                self._finish("length" if self.tokens >= self._most_tokens else "stop", events)
            if self.done:
                break
        return events

    def read_ids(self, arrivals: Sequence[tuple[int, ...]]) -> list[ReplyEvent]:
        """As `read`, of chunks after the first that hold nothing but ids."""
        events: list[ReplyEvent] = []
        for ids in arrivals:
            self._read_tokens(ids, events)
            if self.done:
                return events
        if not self._counts:
            self.plain = self._reply.plain
        return events

    def read_plain(self, arrivals: Sequence[tuple[int, ...]]) -> list[ReplyEvent] | None:
        """As `read_ids`, of tokens whose text passes as it is; None if it takes more than that."""
        if (plain := self.plain) is None:
            return None
        events: list[ReplyEvent] = []
        for ids in arrivals:
            event = plain[ids[0]] if len(ids) == 1 else None
            if event is None:
                return None
            events.append(event)
        self.count_plain(len(events))
        return events

    def count_plain(self, tokens: int) -> None:
        """Count tokens whose text passes as it is."""
        self.tokens += tokens
        if self._reasons:
            self.reasoning_tokens += tokens

    def _read_reused(self, blocks: int) -> None:
        if self._tokens_per_block is not None:
            # The last block may be used in part, and the last token is always read again.
            tokens = min(blocks * self._tokens_per_block, self._prompt_tokens - 1)
            self.cached_tokens = max(0, tokens)

    def _echo(self, prompt: Sequence[ScoredToken], events: list[ReplyEvent]) -> None:
        """The prompt's own tokens, before the answer's."""
        likely = {token for each in prompt for token, _ in each.top}
        # A prompt may have hundreds of thousands of places, of few tokens: each is spelled once.
        spelled = {token: self._spelled(token, None) for token in likely.union(self._prompt_ids)}
        first, *others = self._prompt_ids
        places: list[TokenLogprob] = [{**spelled[first], "top_logprobs": None}]
        for token, (logprob, top) in zip(others, prompt, strict=True):
            likeliest = [{**spelled[each], "logprob": its} for each, its in top]
            places.append({**spelled[token], "logprob": logprob, "top_logprobs": likeliest})
        events.append(Logprobs(tuple(places)))
        events.append(Answer(self._tokenizer.decode(self._prompt_ids)))

    def _logprob(
        self, token: int, logprob: float, top: Sequence[tuple[int, float]]
    ) -> TokenLogprob:
        likeliest = [self._spelled(*each) for each in top]
        return {**self._spelled(token, logprob), "top_logprobs": likeliest}

    def _spelled(self, token: int, logprob: float | None) -> dict[str, Any]:
        text = self._tokenizer.bytes_of(token)
        return {"token": text.decode(errors="replace"), "logprob": logprob, "bytes": list(text)}

    def _read_tokens(self, ids: tuple[int, ...], events: list[ReplyEvent]) -> None:
        self.plain = None
        self.tokens += len(ids)
        if self._counts:
            events.append(Counted(self.tokens))
        new = self._reply.feed(ids)
        if new:
            self._reasons = new[-1].__class__ is Reasoning
            before = len(events)
            events += new
            if self._tools:
                self._look_for_calls(events, before)
        if self._reasons:
            # A call's first tokens make no event before its name is complete.
            self._reasons = self._reply.marker is None or self._reply.marker in self._thinks
            self.reasoning_tokens += len(ids) if self._reasons else 0
        if not self.done and self._reply.stopped_by is not None:
            self._finish("stop", events)

    def _look_for_calls(self, events: list[ReplyEvent], start: int = 0) -> None:
        for place in range(start, len(events)):
            event = events[place]
            if isinstance(event, ToolCallStart) and self._one_call and self._calls.any:
                del events[place:]
                self._end("stop", events)
                return
            self._calls.read(event)

    def _finish(self, reason: FinishReason, events: list[ReplyEvent]) -> None:
        before = len(events)
        new = self._reply.finish(cut=reason == "length")
        if self._must_call:
            # The rest of a forced call that was cut before its arguments.
            new = [event for event in new if not isinstance(event, Answer)]
        events += new
        if self._tools:
            self._look_for_calls(events, before)
        if not self.done:
            self._end(reason, events)

    def _end(self, reason: FinishReason, events: list[ReplyEvent]) -> None:
        self.done = True
        if reason == "stop" and self._calls.whole:
            reason = "tool_calls"
        events.append(
            Finished(
                reason,
                self.tokens,
                self.reasoning_tokens,
                self._reply.stopped_by,
                cached_tokens=self.cached_tokens,
            )
        )


def reply_stream(model: EngineModel, format: ReplyFormat) -> tuple[ReplyStream, list[Event]]:
    """The reader of one reply, and the events of its prefill."""
    text, parser, prefill = reply_reader(model, format)
    return ReplyStream(text, AnswerStop(format.stop), parser), prefill
