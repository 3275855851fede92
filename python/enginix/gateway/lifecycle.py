"""Starts and ends models' servers through their supervisor, without breaking off an answer."""

from __future__ import annotations

import asyncio
import logging
import time

from enginix.gateway.gateway import Gateway, Lane

logger = logging.getLogger(__name__)

DRAIN_POLL = 0.05


async def load(gateway: Gateway, lane: Lane) -> None:
    """Have the model's server started; return when it serves."""
    await gateway.servers.load(lane.model.name)
    lane.unloaded = None


async def unload(gateway: Gateway, lane: Lane) -> None:
    """Take nothing new for the model, let what runs finish, then have its server ended."""
    name = lane.model.name
    # Without a supervisor nothing may change; it says so before anything has.
    gateway.servers.require()
    before, lane.unloaded = lane.unloaded, f"{name} is being unloaded; load it again"
    try:
        await _drained(lane, gateway.settings.load.drain)
        await gateway.servers.unload(name)
    except BaseException:
        lane.unloaded = before
        raise
    lane.unloaded = f"{name} is not loaded; load it with POST /v1/models/load"


async def _drained(lane: Lane, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while left := lane.admission.running + lane.admission.waiting:
        if time.monotonic() > deadline:
            logger.warning("%s: %d requests are ended unfinished", lane.model.name, left)
            return
        await asyncio.sleep(DRAIN_POLL)
