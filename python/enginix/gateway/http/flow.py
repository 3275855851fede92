"""What uvicorn has for every connection and request, without the deques in it.

Each takes 0.7 KB while it is empty, which it nearly always is.
"""

from __future__ import annotations

import asyncio
from typing import Any


class Event:
    """Like asyncio's, whose waiters are in a deque."""

    __slots__ = ("_is_set", "_waiters")

    def __init__(self) -> None:
        self._is_set = False
        self._waiters: tuple[asyncio.Future[None], ...] = ()

    def set(self) -> None:
        self._is_set = True
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def clear(self) -> None:
        self._is_set = False

    async def wait(self) -> None:
        if self._is_set:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters += (waiter,)
        try:
            await waiter
        finally:
            self._waiters = tuple(each for each in self._waiters if each is not waiter)


class Flow:
    """Like uvicorn's FlowControl."""

    __slots__ = ("_transport", "_writable", "read_paused", "write_paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._writable: Event | None = None
        """While writing is paused."""
        self.read_paused = False
        self.write_paused = False

    async def drain(self) -> None:
        if self._writable is not None:
            await self._writable.wait()

    def pause_reading(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self.read_paused:
            self.read_paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        if self._writable is None:
            self.write_paused, self._writable = True, Event()

    def resume_writing(self) -> None:
        if self._writable is not None:
            self._writable.set()
            self.write_paused, self._writable = False, None


class Pipeline(list[Any]):
    """Requests that came before the one before them was answered: the next one is last."""

    def appendleft(self, item: Any) -> None:
        self.insert(0, item)
