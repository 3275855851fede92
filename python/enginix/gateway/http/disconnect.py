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
    if cycle is None:
        return await _unless_received(leaving, receive, work)
    # Our own server calls when the connection is lost.
    if cycle.disconnected:
        work.close()
        return False
    scope: Any = cycle.scope
    scope[LEFT] = leaving.leave
    # It does not notice while it does not read, as after a long body.
    cycle.flow.resume_reading()
    try:
        # In this task instead of a new one: this runs for every open stream.
        with leaving:
            await work
    finally:
        del scope[LEFT]
    return leaving.finished


def _own_cycle(receive: Receive) -> RequestResponseCycle | None:
    cycle: Any = getattr(receive, "__self__", None)
    return cycle if isinstance(cycle, RequestResponseCycle) and CYCLE in cycle.scope else None


class _Leaving:
    """Cancels a task when the client leaves, while its work runs in this block."""

    __slots__ = ("_at_work", "_left", "_task", "finished")

    def __init__(self, task: asyncio.Task[object]) -> None:
        self._task = task
        self._at_work, self._left = True, False
        self.finished = False

    def leave(self, _: object = None) -> None:
        # It may have been scheduled already when the work finished.
        if self._at_work and not self._left:
            self._left = True
            self._task.cancel()

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        self._at_work = False
        self.finished = error is None
        # Its own cancellation ends here, and no other.
        ends = isinstance(error, asyncio.CancelledError) and self._left
        return ends and self._task.uncancel() == 0


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
        with leaving:
            await work
        return leaving.finished
    finally:
        await _end(gone)


async def _gone(receive: Receive) -> None:
    # Servers may deliver an empty rest of the body first.
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its cleanup; its exceptions are not ours to handle."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
