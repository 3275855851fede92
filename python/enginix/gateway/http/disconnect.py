"""Detects a client that disconnects while its answer is generated."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from starlette.types import Receive


async def unless_client_leaves(receive: Receive, work: Coroutine[None, None, None]) -> bool:
    """Run `work`; if the client leaves, cancel it and wait for its end. Return whether it finished.

    Call it after reading the body. If the client has already left, `work` does not start.
    """
    gone = asyncio.create_task(_gone(receive))
    try:
        # The watcher's first step: it ends here if the client left while the body was parsed.
        await asyncio.sleep(0)
        if gone.done():
            work.close()
            return False
        return await _unless_done_first(gone, work)
    finally:
        await _end(gone)


async def _unless_done_first(gone: asyncio.Task[None], work: Coroutine[None, None, None]) -> bool:
    # In this task instead of a new one: this runs for every open stream.
    task = asyncio.current_task()
    assert task is not None, "it runs in a coroutine"
    at_work, left = True, False

    def leave(_: asyncio.Task[None]) -> None:
        nonlocal left
        # The watcher may have been scheduled already when the work finished.
        if at_work:
            left = True
            task.cancel()

    gone.add_done_callback(leave)
    try:
        await work
    except asyncio.CancelledError:
        if not left or task.uncancel() > 0:
            raise
        return False
    finally:
        at_work = False
    return True


async def _gone(receive: Receive) -> None:
    # Servers may deliver an empty rest of the body first.
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its cleanup; its exceptions are not ours to handle."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
