"""Generates one reply in several generations, whose parts follow different guides.

An engine follows a guide from a generation's first token to its last. A reply has parts: reasoning
is free, an answer fits a schema, a call fits its function. So a reply is generated phase by phase:
each phase continues the text of the previous ones, which the engine's cache then holds.
"""

from __future__ import annotations

from array import array
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from enginix.gateway.models.engine_model import EngineModel
from enginix.gateway.reply.triggers import Found, Watch
from enginix.generation.backend import Backend
from enginix.generation.reply import Phases, ReplyFormat
from enginix.generation.request import Guide, TokenChunk, TokenRequest

END_OF_REASONING = "</think>"

Chunks = AsyncGenerator[list[TokenChunk], None]


class PhasedReply:
    """One reply; call `chunks` once, inside `aclosing`."""

    def __init__(self, model: EngineModel, format: ReplyFormat, request: TokenRequest) -> None:
        assert format.phases is not None
        self._backend: Backend = model.backend
        self._model = model
        self._format = format
        self._phases: Phases = format.phases
        self._request = request
        self._ids = array("i", request.prompt_ids)
        self._left = request.max_tokens
        self._generations = 0
        self._reused_blocks: int | None = None
        self._called = False
        self._next: Callable[[], Chunks] | None = self._first()

    async def chunks(self) -> Chunks:
        """Like `backend.generate`: the last chunk is final."""
        while self._next is not None and self._left > 0:
            phase, self._next = self._next, None
            async with aclosing(phase()) as arrivals:
                async for chunks in arrivals:
                    yield chunks
        yield [TokenChunk((), None, final=True, reused_blocks=self._reused_blocks)]

    def _first(self) -> Callable[[], Chunks]:
        if self._phases.end_of_reasoning:
            return self._reason
        return self._call if self._phases.must_call else self._watch

    async def _reason(self) -> Chunks:
        """Reasoning, then its closing text, after which the guided part follows."""
        end = self._phases.end_of_reasoning
        self._next = self._call if self._phases.must_call else self._answer
        if len(self._model.tokenizer.encode(END_OF_REASONING)) > 1:
            async with aclosing(self._reason_in_text()) as arrivals:
                async for chunks in arrivals:
                    yield chunks
            return
        async with aclosing(self._generate(None, stop_ids=end[:1])) as arrivals:
            async for chunks in arrivals:
                yield self._passed(chunks)
        yield self._written(end)

    async def _reason_in_text(self) -> Chunks:
        """Like `_reason`, for a model whose end of reasoning is several tokens."""
        anything = Phases(answer=Guide("json"))
        format = replace(self._format, tools=None, definitions=(), phases=anything)
        watch = Watch(self._model, format, fresh=True)
        async with aclosing(self._watched(watch)) as arrivals:
            async for chunks in arrivals:
                yield chunks
        if watch.found is None:
            yield self._written(self._phases.end_of_reasoning)
        elif self._phases.call is not None and self._phases.must_call:
            yield self._written(self._model.tokenizer.encode(self._phases.call.opening))

    async def _answer(self) -> Chunks:
        async with aclosing(self._generate(self._phases.answer)) as arrivals:
            async for chunks in arrivals:
                yield self._passed(chunks)

    async def _call(self) -> Chunks:
        """One guided call, and the text that must follow it if another call may come."""
        call = self._phases.call
        assert call is not None
        async with aclosing(self._generate(Guide(call.kind, call.text))) as arrivals:
            async for chunks in arrivals:
                yield self._passed(chunks)
        self._called = True
        if call.closing and not self._format.one_call and self._left > 0:
            yield self._written(self._model.tokenizer.encode(call.closing))
            self._next = self._watch

    async def _watch(self) -> Chunks:
        """Free text, until a constrained call or answer begins."""
        watch = Watch(self._model, self._format, fresh=not self._called)
        async with aclosing(self._watched(watch)) as arrivals:
            async for chunks in arrivals:
                yield chunks
        if watch.found is Found.CALL:
            yield self._written(self._model.tokenizer.encode(watch.instead))
            self._next = self._call
        elif watch.found is Found.ANSWER and not self._called:
            # Text after a call would be unconstrained: the reply ends with its calls.
            self._next = self._answer

    async def _watched(self, watch: Watch) -> Chunks:
        """Free text, passed on until `watch` finds something or the text ends."""
        async with aclosing(self._generate(None)) as arrivals:
            async for chunks in arrivals:
                self._read_reused(chunks)
                if ready := watch.feed(chunks):
                    yield self._passed(ready)
                if watch.found is not None:
                    return
        yield self._passed(watch.finish())

    def _generate(self, guide: Guide | None, *, stop_ids: Sequence[int] = ()) -> Chunks:
        request = self._request
        sampling = replace(request.sampling, guide=guide)
        if sampling.min_tokens:
            # The count is of the whole reply.
            written = request.max_tokens - self._left
            sampling = replace(sampling, min_tokens=max(0, sampling.min_tokens - written))
        self._generations += 1
        number = self._generations
        return self._backend.generate(
            replace(
                request,
                prompt_ids=array("i", self._ids),
                max_tokens=self._left,
                stop_ids=(*request.stop_ids, *stop_ids),
                sampling=sampling,
                request_id=request.request_id if number == 1 else f"{request.request_id}.{number}",
            )
        )

    def _passed(self, chunks: Sequence[TokenChunk]) -> list[TokenChunk]:
        """Generated chunks for the client, without the final one, which the reply sends later."""
        self._read_reused(chunks)
        for chunk in chunks:
            self._ids.extend(chunk.ids)
            self._left -= len(chunk.ids)
        reused = self._reused_blocks
        return [chunk._replace(final=False, reused_blocks=reused) for chunk in chunks]

    def _read_reused(self, chunks: Sequence[TokenChunk]) -> None:
        """Of the first generation only: the prompts of the others contain the reply so far."""
        if self._generations == 1 and self._reused_blocks is None:
            stated = (chunk.reused_blocks for chunk in chunks)
            self._reused_blocks = next((each for each in stated if each is not None), None)

    def _written(self, ids: Sequence[int]) -> list[TokenChunk]:
        """Text that is written for the model."""
        return self._passed([TokenChunk(tuple(ids[: self._left]))])
