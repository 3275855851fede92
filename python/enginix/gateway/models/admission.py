"""Limits one model's concurrent answers: others queue in order of arrival, up to a limit."""

from __future__ import annotations

import asyncio

from enginix.errors import Overloaded

RETRY_SECONDS = 1.0


class Admission:
    """One model's slots, first come, first served."""

    def __init__(self, model: str, running: int, waiting: int) -> None:
        self._model = model
        self._slots = asyncio.Semaphore(running)
        self._max_running = running
        self._max_waiting = waiting
        self.running = 0
        self.waiting = 0
        self.started = 0
        """Requests ever admitted."""

    @property
    def busy(self) -> int:
        """The number of requests that run or wait."""
        return self.running + self.waiting

    async def enter(self) -> None:
        """Take a slot, in order. Raises Overloaded if too many wait already."""
        if self._slots.locked() and self.waiting >= self._max_waiting:
            raise Overloaded(
                f"{self._model} has {self._max_running} running and {self.waiting} waiting",
                retry_after=RETRY_SECONDS,
            )
        self.started += 1
        self.waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self.waiting -= 1
        self.running += 1

    def leave(self) -> None:
        self.running -= 1
        self._slots.release()
