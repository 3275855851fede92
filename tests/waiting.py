"""Waits for what has no event: another process's state, or what a background task finds out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

PATIENCE = 30.0


async def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> float:
    """Seconds until `condition` was true; fails after `seconds`."""
    started = time.monotonic()
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110, the reason of this module
            await asyncio.sleep(0.005)
    return time.monotonic() - started
