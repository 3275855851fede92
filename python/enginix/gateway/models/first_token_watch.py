"""Watches requests that wait for their first token, and ends those of a dead server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from enginix.gateway.models.model_state import ModelState
from enginix.gateway.models.speed import SAMPLE_SECONDS
from enginix.gateway.models.state import Gateway
from enginix.supervision import Availability

# A request that waits longer is a reason to probe the model.
PATIENCE_SECONDS = 1.0


@asynccontextmanager
async def models_watched(gateway: Gateway) -> AsyncIterator[None]:
    """Watch until the block ends."""
    task = asyncio.create_task(_watch(gateway))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _watch(gateway: Gateway) -> None:
    while True:
        await asyncio.sleep(SAMPLE_SECONDS)
        for state in list(gateway.states.values()):
            state.gauges.stalled.set(state.first_tokens.stalled())
            state.speed.sample(state.unreported)
        waiting = [state for state in gateway.states.values() if _is_waiting(state)]
        if waiting:
            await asyncio.gather(*map(_give_up_if_down, waiting))


def _is_waiting(state: ModelState) -> bool:
    return state.presence == Availability.OPEN and state.first_tokens.longest() > PATIENCE_SECONDS


async def _give_up_if_down(state: ModelState) -> None:
    health = await state.liveness.health()
    if not health.ok and state.liveness.down:
        state.first_tokens.give_up(state.liveness.down)
