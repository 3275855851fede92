"""Lets so many answers run at once, so many more wait in order, and sends the rest away at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from enginix.errors import Overloaded

RETRY_SECONDS = 1.0


class Admission:
    """One model's slots, first come, first served."""

    def __init__(self, model: str, running: int, waiting: int) -> None:
        self._model = model
        self._slots = asyncio.Semaphore(running)
        self._most_running = running
        self._most_waiting = waiting
        self.running = 0
        self.waiting = 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Holds one slot; waits for it in order. Raises Overloaded when too many wait already."""
        await self._enter()
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._slots.release()

    async def _enter(self) -> None:
        if self._slots.locked() and self.waiting >= self._most_waiting:
            raise Overloaded(
                f"{self._model} answers {self._most_running} requests and {self.waiting} wait; "
                "ask again a little later",
                retry_after=RETRY_SECONDS,
            )
        self.waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self.waiting -= 1
