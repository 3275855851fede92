"""A backend that streams scripted replies token by token and records its requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from enginix.errors import BackendError
from enginix.generation.request import ScoredToken, TokenChunk, TokenRequest

EVERYTHING = frozenset(
    {
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "seed",
        "repetition_penalty",
        "presence_penalty",
        "frequency_penalty",
        "min_tokens",
        "logit_bias",
        "guide",
    }
)


class FakeBackend:
    """Gives its replies in turn and repeats the last one.

    `stops_at`: after that many tokens it says nothing until `go` is set. `fails_at`: after that
    many tokens `error` is raised. `together`: how many tokens arrive at once. `reused_blocks`: what
    the first chunk states, of each request in turn.
    """

    name = "fake"
    late_tokens = 0
    replicas = ()

    def __init__(
        self,
        *replies: Sequence[int],
        supported: frozenset[str] = EVERYTHING,
        stops_at: int | None = None,
        fails_at: int | None = None,
        error: BackendError | None = None,
        together: int = 1,
        reused_blocks: Sequence[int | None] = (),
    ) -> None:
        self.replies = replies or ((),)
        self.supports = supported
        self.stops_at = stops_at
        self.fails_at = fails_at
        self.error = error
        self.together = together
        self.reused_blocks = [*reused_blocks]
        self.asked: list[TokenRequest] = []
        self.produced = 0
        self.running = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self.stuck = asyncio.Event()
        self.go = asyncio.Event()
        self.probes = 0
        self.probe_error: BackendError | None = None
        self.closed = False

    async def generate(self, request: TokenRequest) -> AsyncGenerator[list[TokenChunk], None]:
        reply = self.replies[min(len(self.asked), len(self.replies) - 1)]
        self.asked.append(request)
        stated = self.reused_blocks.pop(0) if self.reused_blocks else None
        self.running += 1
        self.idle.clear()
        try:
            ends = {request.end_id, *request.stop_ids}
            ids = _until(reply, ends)[: request.max_tokens]
            for start in range(0, len(ids), self.together):
                await self._pause(start)
                batch = ids[start : start + self.together]
                self.produced += len(batch)
                chunks = [self._chunk(token, request) for token in batch]
                if start == 0:
                    prompt = _scored(request) if request.prompt_logprobs else None
                    chunks[0] = chunks[0]._replace(reused_blocks=stated, prompt=prompt)
                elif self._takes(request, chunks):
                    continue
                yield chunks
            await self._pause(len(ids))
            yield [TokenChunk((), () if request.logprobs else None, True)]
        finally:
            self.running -= 1
            if not self.running:
                self.idle.set()

    async def supported(self) -> frozenset[str]:
        return self.supports

    async def probe(self) -> None:
        self.probes += 1
        if self.probe_error:
            raise self.probe_error

    async def close(self) -> None:
        self.closed = True

    def _takes(self, request: TokenRequest, chunks: Sequence[TokenChunk]) -> bool:
        # As Triton's messages that hold nothing but ids.
        if request.take is None or any(each.logprobs is not None for each in chunks):
            return False
        return request.take([each.ids for each in chunks])

    async def _pause(self, at: int) -> None:
        # Each token yields to the event loop, as with a real backend.
        await asyncio.sleep(0)
        if self.error is not None and self.fails_at == at:
            raise self.error
        if self.stops_at == at:
            self.stuck.set()
            await self.go.wait()

    def _chunk(self, token: int, request: TokenRequest) -> TokenChunk:
        top = tuple((token + place, -0.5 - place) for place in range(request.top_logprobs))
        return TokenChunk(
            (token,), (-0.5,) if request.logprobs else None, top=(top,) if top else ()
        )


def _scored(request: TokenRequest) -> tuple[ScoredToken, ...]:
    return tuple(
        ScoredToken(
            -1.0, tuple((token + place, -1.0 - place) for place in range(request.top_logprobs))
        )
        for token in request.prompt_ids[1:]
    )


def _until(reply: Sequence[int], ends: set[int | None]) -> list[int]:
    ids = []
    for token in reply:
        if token in ends:
            break
        ids.append(token)
    return ids
