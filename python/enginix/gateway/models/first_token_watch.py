"""Looks after requests that wait for their first token: those of a dead server are told so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from enginix.gateway.models.state import Availability, Gateway, ModelState

LOOK_SECONDS = 0.5
# A request that waits longer is a reason to ask whether anything comes out at all.
PATIENCE = 1.0


@asynccontextmanager
async def lanes_watched(gateway: Gateway) -> AsyncIterator[None]:
    """Until the block ends."""
    task = asyncio.create_task(_watch(gateway))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _watch(gateway: Gateway) -> None:
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        for lane in list(gateway.lanes.values()):
            lane.gauges.stalled.set(lane.first_tokens.stalled())
        waiting = [lane for lane in gateway.lanes.values() if _waits(lane)]
        if waiting:
            await asyncio.gather(*map(_tell_if_down, waiting))


def _waits(lane: ModelState) -> bool:
    return lane.presence == Availability.OPEN and lane.first_tokens.longest() > PATIENCE


async def _tell_if_down(lane: ModelState) -> None:
    health = await lane.liveness.health()
    if not health.ok and lane.liveness.down:
        lane.first_tokens.give_up(lane.liveness.down)
