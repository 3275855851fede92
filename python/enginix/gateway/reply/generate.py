"""From token requests to the one event stream that feeds every API dialect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from enginix.errors import GenerationFailed, RequestError
from enginix.gateway.models.engine_model import EngineModel
from enginix.gateway.reply.choice import Choice
from enginix.gateway.reply.phases import PhasedReply
from enginix.generation.lane import Lane
from enginix.generation.reply import (
    Arrived,
    Delivery,
    DirectWriter,
    Finished,
    PlainBytes,
    Replies,
    ReplyEvent,
    ReplyFormat,
)
from enginix.generation.request import Origin, TokenChunk, TokenRequest


@dataclass(slots=True)
class TokenGeneration:
    """A request to a model with an engine here; each of `requests` becomes one choice."""

    id: str
    model: EngineModel
    requests: tuple[TokenRequest, ...]
    """None any more once `replies` has them: a prompt is kept only until its model has it."""
    format: ReplyFormat = field(default_factory=ReplyFormat)
    prompt_tokens: int = 0
    prompts: int = 1
    """Each has equally many of `requests`, one after the other."""
    guide_param: str = "response_format"
    """The dialect's name of the format that an answer must have."""
    choices: int = field(init=False)

    def __post_init__(self) -> None:
        self.choices = len(self.requests)

    @property
    def counts(self) -> bool:
        return self.format.counts

    def replies(
        self, origin: Origin, arrived: Sequence[Arrived], delivery: Delivery | None = None
    ) -> Replies:
        requests, self.requests = self.requests, ()
        if origin.trace:
            requests = tuple(replace(each, trace=origin.trace) for each in requests)
        if len(requests) == 1:
            return _choice(self, requests[0], 0, arrived[0], delivery)
        each = zip(requests, range(len(requests)), arrived, strict=True)
        return _choices([_choice(self, *one) for one in each])


class _Ended(Exception):
    """A choice has ended where its tokens are taken."""

    def __init__(self, events: list[ReplyEvent]) -> None:
        self.events = events


async def _choice(
    generation: TokenGeneration,
    request: TokenRequest,
    index: int,
    arrived: Arrived,
    delivery: Delivery | None = None,
) -> Replies:
    if request.max_tokens == 0 and not request.prompt_logprobs:
        # Only the prompt's count was asked for.
        yield index, [Finished("length", 0)]
        return
    choice = Choice(generation.model, generation.format, request)
    taking = None if delivery is None else _Taking(choice, arrived, delivery)
    arrivals = _arrivals(generation, request, taking)
    guided = request.sampling.guide is not None or generation.format.phases is not None
    del request
    try:
        async with aclosing(arrivals):
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
                del chunks, events  # The rest is taken.
    except _Ended as end:
        yield index, end.events
        return
    except GenerationFailed as error:
        raise (_as_mistake(error, generation.guide_param) if guided else error) from None
    raise GenerationFailed(
        f"{generation.model.backend.name} ended its answer without saying that it was over"
    )


def _as_mistake(error: GenerationFailed, guide_param: str) -> GenerationFailed | RequestError:
    """The client's, if its guide was refused.

    Only the engine knows which guides it can follow, and may refuse one late: after the
    reasoning, or after a schema's first tokens.
    """
    if "guide" not in str(error):
        return error
    return RequestError(str(error), param=guide_param, code="invalid_value")


class _Taking(Lane):
    """Takes the tokens of choice 0 where they are read."""

    __slots__ = ("_arrived", "_choice", "_delivery", "_plain")

    def __init__(self, choice: Choice, arrived: Arrived, delivery: Delivery) -> None:
        super().__init__()
        self._choice = choice
        self._arrived = arrived
        self._delivery = delivery
        self._plain: PlainBytes[Any] | None = None

    def take(self, arrivals: list[tuple[int, ...]]) -> bool:
        body = self._delivery.body
        # Where a client does not read, its stream's task waits for it.
        if body is None or body.flow.write_paused:
            return False
        # What was read another way, while the client did not keep up, leaves the choice without.
        if self._plain is None or self._choice.plain is None:
            return self._read(arrivals, body)
        texts = self._plain.texts
        found: list[Any] = []
        for ids in arrivals:
            text = texts[ids[0]] if len(ids) == 1 else None
            if text is None:
                return self._read(arrivals, body)
            found.append(text)
        self.pass_on(found)
        return True

    def pass_on(self, found: list[Any]) -> None:
        """Write plain tokens, of which these are the texts. Called for nearly every token."""
        body = self._delivery.body
        assert body is not None, "it was there when the lane was opened"
        assert self._plain is not None, "they were looked up in it"
        texts, before, join, after = self._plain
        self._choice.count_plain(len(found))
        self._arrived(len(found))
        body.write(join(found), before, after)
        self.texts = None if body.flow.write_paused else texts

    def _read(self, arrivals: list[tuple[int, ...]], body: DirectWriter) -> bool:
        choice = self._choice
        before = choice.tokens
        events = choice.read_plain(arrivals)
        if events is None:
            self._plain = self.texts = None
            events = choice.read_ids(arrivals)
        self._arrived(choice.tokens - before)
        if choice.done:
            raise _Ended(events)
        if events:
            body.write(self._delivery.encode(0, events))
        if self._plain is None and choice.plain is not None:
            self._plain = self._delivery.plain(0, choice.plain)
        return True


def _arrivals(
    generation: TokenGeneration, request: TokenRequest, taking: _Taking | None
) -> AsyncGenerator[list[TokenChunk], None]:
    if request.max_tokens == 0:
        # An engine that scores a prompt generates at least one token; the choice ends before it.
        request = replace(request, max_tokens=1)
    if generation.format.phases is not None:
        return PhasedReply(generation.model, generation.format, request).chunks()
    if taking is not None:
        request.take, request.lane = taking.take, taking
    return generation.model.backend.generate(request)


async def _choices(choices: Sequence[Replies]) -> Replies:
    # As many places as choices: when the reader stops, the choices stop too.
    queue: asyncio.Queue[tuple[int, list[ReplyEvent] | BaseException | None]]
    queue = asyncio.Queue(len(choices))

    async def pump(index: int, choice: Replies) -> None:
        try:
            async with aclosing(choice) as replies:
                async for item in replies:
                    await queue.put(item)
            await queue.put((index, None))
        except Exception as error:
            await queue.put((index, error))

    pumps = [asyncio.create_task(pump(index, each)) for index, each in enumerate(choices)]
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
