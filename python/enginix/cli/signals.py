"""Runs a server in the foreground: SIGINT and SIGTERM end it the way it ends by itself."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any


def run_until_signalled(work: Coroutine[Any, Any, None]) -> bool:
    """Run `work` until it ends, fails, or a signal cancels it; True when a signal did.

    Whatever `work` has started it ends in its own context managers, before this returns.
    """
    return asyncio.run(_run(work))


async def _run(work: Coroutine[Any, Any, None]) -> bool:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False
