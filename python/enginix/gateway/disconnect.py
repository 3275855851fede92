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
        return await _first_of(asyncio.create_task(work), gone)
    finally:
        await _end(gone)


async def _first_of(working: asyncio.Task[None], gone: asyncio.Task[None]) -> bool:
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return False
        working.result()
        return True
    finally:
        await _end(working)


async def _gone(receive: Receive) -> None:
    # Servers may hand out an empty rest of the body first.
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait until it has cleaned up; what it raised is somebody else's."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
