"""Detects a client that disconnects while its answer is generated."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.types import Receive
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from enginix.gateway.http.writing import CYCLE, LEFT


async def unless_client_leaves(receive: Receive, work: Coroutine[None, None, None]) -> bool:
    """Run `work`; if the client leaves, cancel it and wait for its end. Return whether it finished.

    Call it after reading the body. If the client has already left, `work` does not start.
    """
    task = asyncio.current_task()
    assert task is not None, "it runs in a coroutine"
    leaving = _Leaving(task)
    cycle = _own_cycle(receive)
    if cycle is not None:
        # Our own server calls when the connection is lost.
        if cycle.disconnected:
            work.close()
            return False
        scope: Any = cycle.scope
        scope[LEFT] = leaving.leave
        # It does not notice while it does not read, as after a long body.
        cycle.flow.resume_reading()
        try:
            return await _unless_left(leaving, work)
        finally:
            del scope[LEFT]
    return await _unless_received(leaving, receive, work)


def _own_cycle(receive: Receive) -> RequestResponseCycle | None:
    cycle: Any = getattr(receive, "__self__", None)
    return cycle if isinstance(cycle, RequestResponseCycle) and CYCLE in cycle.scope else None


class _Leaving:
    """Cancels a task when the client leaves, while its work runs."""

    __slots__ = ("at_work", "left", "task")

    def __init__(self, task: asyncio.Task[object]) -> None:
        self.task = task
        self.at_work, self.left = True, False

    def leave(self, _: object = None) -> None:
        # It may have been scheduled already when the work finished.
        if self.at_work and not self.left:
            self.left = True
            self.task.cancel()


async def _unless_received(
    leaving: _Leaving, receive: Receive, work: Coroutine[None, None, None]
) -> bool:
    """The same at any server: a task waits for its message."""
    gone = asyncio.create_task(_gone(receive))
    try:
        # The watcher's first step: it ends here if the client left while the body was parsed.
        await asyncio.sleep(0)
        if gone.done():
            work.close()
            return False
        gone.add_done_callback(leaving.leave)
        return await _unless_left(leaving, work)
    finally:
        await _end(gone)


async def _unless_left(leaving: _Leaving, work: Coroutine[None, None, None]) -> bool:
    # In this task instead of a new one: this runs for every open stream.
    try:
        await work
    except asyncio.CancelledError:
        if not leaving.left or leaving.task.uncancel() > 0:
            raise
        return False
    finally:
        leaving.at_work = False
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
