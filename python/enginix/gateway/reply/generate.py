"""From token requests to the one event stream that feeds every API dialect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any

from enginix.chat.events import Answer, Event, Reasoning, ToolCallStart
from enginix.chat.made_calls import MadeCalls
from enginix.chat.reply import markers
from enginix.chat.stop import AnswerStop
from enginix.chat.stream import ReplyStream
from enginix.errors import GenerationFailed, RequestError
from enginix.gateway.models.engine_model import EngineModel
from enginix.gateway.reply.phases import PhasedReply
from enginix.gateway.reply.reader import reply_reader
from enginix.generation.reply import (
    Arrived,
    Counted,
    Finished,
    FinishReason,
    Logprobs,
    Replies,
    ReplyEvent,
    ReplyFormat,
    TokenLogprob,
)
from enginix.generation.request import Origin, TokenChunk, TokenRequest


@dataclass(frozen=True, slots=True)
class TokenGeneration:
    """A request to a model with an engine here; each of `requests` becomes one choice."""

    id: str
    model: EngineModel
    requests: tuple[TokenRequest, ...]
    format: ReplyFormat = field(default_factory=ReplyFormat)
    prompt_tokens: int = 0
    prompts: int = 1
    """Each has equally many of `requests`, one after the other."""
    guide_param: str = "response_format"
    """The dialect's name of the format that an answer must have."""

    @property
    def choices(self) -> int:
        return len(self.requests)

    @property
    def counts(self) -> bool:
        return self.format.counts

    def replies(self, origin: Origin, arrived: Sequence[Arrived]) -> Replies:
        told = self
        if origin.trace:
            requests = tuple(replace(each, trace=origin.trace) for each in self.requests)
            told = replace(self, requests=requests)
        if len(self.requests) == 1:
            return _choice(told, 0, arrived[0])
        return _choices(told, arrived)


async def _choice(generation: TokenGeneration, index: int, arrived: Arrived) -> Replies:
    request = generation.requests[index]
    if request.max_tokens == 0:
        # Only the prompt's count was asked for.
        yield index, [Finished("length", 0)]
        return
    choice = Choice(generation.model, generation.format, request)
    try:
        async with aclosing(_arrivals(generation, request)) as arrivals:
            async for chunks in arrivals:
                before = choice.tokens
                events = choice.read(chunks)
                if choice.tokens != before:
                    arrived(choice.tokens - before)
                if choice.done:
                    # Before the client reads it: a slow client must not hold the model's slot.
                    await arrivals.aclose()
                if events:
                    yield index, events
                if choice.done:
                    return
    except GenerationFailed as error:
        # Only the engine knows which guides it can follow, and may refuse one late: after the
        # reasoning, or after a schema's first tokens.
        guided = request.sampling.guide is not None or generation.format.phases is not None
        if not guided or "guide" not in str(error):
            raise
        raise RequestError(str(error), param=generation.guide_param, code="invalid_value") from None
    raise GenerationFailed(
        f"{generation.model.backend.name} ended its answer without saying that it was over"
    )


def _arrivals(
    generation: TokenGeneration, request: TokenRequest
) -> AsyncGenerator[list[TokenChunk], None]:
    if generation.format.phases is not None:
        return PhasedReply(generation.model, generation.format, request).chunks()
    return generation.model.backend.generate(request)


async def _choices(generation: TokenGeneration, arrived: Sequence[Arrived]) -> Replies:
    # As many places as choices: when the reader stops, the choices stop too.
    queue: asyncio.Queue[tuple[int, list[ReplyEvent] | BaseException | None]]
    queue = asyncio.Queue(generation.choices)

    async def pump(index: int) -> None:
        try:
            async with aclosing(_choice(generation, index, arrived[index])) as replies:
                async for item in replies:
                    await queue.put(item)
            await queue.put((index, None))
        except Exception as error:
            await queue.put((index, error))

    pumps = [asyncio.create_task(pump(index)) for index in range(generation.choices)]
    try:
        left = len(pumps)
        while left:
            index, item = await queue.get()
            if item is None:
                left -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield index, item
    finally:
        for task in pumps:
            task.cancel()
        await asyncio.wait(pumps)


class Choice:
    """Reads one choice of a reply from its token chunks, up to its end and the reason for it."""

    __slots__ = (
        "_calls",
        "_counts",
        "_most_tokens",
        "_must_call",
        "_one_call",
        "_prefill",
        "_prompt_tokens",
        "_reasons",
        "_reply",
        "_thinks",
        "_tokenizer",
        "_tokens_per_block",
        "_tools",
        "cached_tokens",
        "done",
        "reasoning_tokens",
        "tokens",
    )

    def __init__(self, model: EngineModel, format: ReplyFormat, request: TokenRequest) -> None:
        self._tokenizer = model.tokenizer
        self._reply, self._prefill = reply_stream(model, format)
        self._most_tokens = request.max_tokens
        self._prompt_tokens = len(request.prompt_ids)
        self._tokens_per_block = model.tokens_per_block
        self.cached_tokens: int | None = None
        self._tools = bool(format.definitions)
        self._one_call = format.one_call
        self._must_call = format.must_call
        self._counts = format.counts
        self._calls = MadeCalls()
        self._reasons = format.starts_inside
        self._thinks = markers(format.reasoning, None)
        self.done = False
        self.tokens = 0
        self.reasoning_tokens = 0

    def read(self, chunks: Sequence[TokenChunk]) -> list[ReplyEvent]:
        events: list[ReplyEvent] = []
        if self._prefill:
            events += self._prefill
            self._prefill = []
            self._look_for_calls(events)
        for ids, logprobs, final, top, reused_blocks in chunks:
            if reused_blocks is not None:
                self._read_reused(reused_blocks)
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

    def _read_reused(self, blocks: int) -> None:
        if self._tokens_per_block is not None:
            # The last block may be used in part, and the last token is always read again.
            tokens = min(blocks * self._tokens_per_block, self._prompt_tokens - 1)
            self.cached_tokens = max(0, tokens)

    def _logprob(
        self, token: int, logprob: float, top: Sequence[tuple[int, float]]
    ) -> TokenLogprob:
        likeliest = [self._spelled(*each) for each in top]
        return {**self._spelled(token, logprob), "top_logprobs": likeliest}

    def _spelled(self, token: int, logprob: float) -> dict[str, Any]:
        text = self._tokenizer.bytes_of(token)
        return {"token": text.decode(errors="replace"), "logprob": logprob, "bytes": list(text)}

    def _read_tokens(self, ids: tuple[int, ...], events: list[ReplyEvent]) -> None:
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
