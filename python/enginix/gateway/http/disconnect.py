"""Notices a client that leaves, while its answer is being made."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from starlette.types import Receive


async def unless_client_leaves(receive: Receive, work: Coroutine[None, None, None]) -> bool:
    """Run `work`; cancel it and wait for its end when the client leaves. Whether it was done.

    Call it when the body has been read. A client that has left already gets no work at all.
    """
    gone = asyncio.create_task(_gone(receive))
    try:
        # The watcher's first step: it ends here when the client left while the body was parsed.
        await asyncio.sleep(0)
        if gone.done():
            work.close()
            return False
        return await _unless_done_first(gone, work)
    finally:
        await _end(gone)


async def _unless_done_first(gone: asyncio.Task[None], work: Coroutine[None, None, None]) -> bool:
    # In this task, not in one of its own: there is one for every open stream.
    task = asyncio.current_task()
    assert task is not None, "it runs in a coroutine"
    at_work, left = True, False

    def leave(_: asyncio.Task[None]) -> None:
        nonlocal left
        # It may have been on its way when the work was done.
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
    # Servers may hand out an empty rest of the body first.
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait until it has cleaned up; what it raised is somebody else's."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
