"""Lets a model reason freely and holds only its answer to a guide: two generations, one reply.

An engine follows a guide from the first token on, where reasoning would break every format. So
the first generation goes without it to the end of the reasoning, and the second goes on behind
it; what was read and written before is in the engine's cache by then.
"""

from __future__ import annotations

from array import array
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from enginix.backends.protocol import Backend
from enginix.triton.request import TokenChunk, TokenRequest


async def reasoned_then_guided(
    backend: Backend, request: TokenRequest, end_of_reasoning: tuple[int, ...]
) -> AsyncGenerator[list[TokenChunk], None]:
    """As `backend.generate(request)`; `end_of_reasoning` is the closing tag and what follows it."""
    written = array("i")
    thoughts = replace(
        request,
        sampling=replace(request.sampling, guide=None),
        stop_ids=(*request.stop_ids, end_of_reasoning[0]),
    )
    async with aclosing(backend.generate(thoughts)) as arrivals:
        async for chunks in arrivals:
            for chunk in chunks:
                written.extend(chunk.ids)
            yield [chunk._replace(final=False) for chunk in chunks]
    left = request.max_tokens - len(written) - len(end_of_reasoning)
    if left < 1:
        # The reasoning used up what there was: as if the answer had been cut off.
        missing = request.max_tokens - len(written)
        yield [TokenChunk(end_of_reasoning[:missing], None, final=True)]
        return
    yield [TokenChunk(end_of_reasoning)]
    answer = replace(
        request,
        prompt_ids=array("i", [*request.prompt_ids, *written, *end_of_reasoning]),
        max_tokens=left,
        request_id=f"{request.request_id}-answer",
    )
    async with aclosing(backend.generate(answer)) as arrivals:
        async for chunks in arrivals:
            yield chunks
