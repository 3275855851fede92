"""Limits a model's concurrent answers, its adapters' included: others wait, up to a limit."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext

from enginix.errors import Overloaded
from enginix.gateway.models.record import WhileWaiting
from enginix.gateway.models.waiting_line import WaitingLine

RETRY_SECONDS = 1.0


class Admission:
    """The slots of one model's servers."""

    def __init__(
        self,
        model: str,
        running: int,
        waiting: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._max_running = running
        self._max_waiting = waiting
        self._clock = clock
        self._line = WaitingLine[asyncio.Future[None]]()
        self._running_of: Counter[str | None] = Counter()
        self.running = 0

    @property
    def waiting(self) -> int:
        return len(self._line)

    @property
    def busy(self) -> int:
        """The number of requests that run or wait."""
        return self.running + self.waiting

    @property
    def full(self) -> bool:
        """Whether a request has to wait now."""
        return self.running >= self._max_running

    async def enter(
        self,
        priority: int = 0,
        key: str | None = None,
        while_waiting: WhileWaiting | None = None,
    ) -> None:
        """Take a slot when it is this request's turn; `leave` gives it back.

        `priority`: lower is sooner. `key`: the name of its API key. Raises Overloaded if too many
        wait already.
        """
        if not self.full:
            self._take(key)
            return
        if self.waiting >= self._max_waiting:
            raise Overloaded(
                f"{self._model} has {self._max_running} running and {self.waiting} waiting",
                retry_after=RETRY_SECONDS,
            )
        turn = asyncio.get_running_loop().create_future()
        place = self._line.add(turn, priority, key, self._clock())
        try:
            ahead = self._line.ahead
            async with while_waiting(lambda: ahead(place)) if while_waiting else nullcontext():
                await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                # It was this request's turn, which it does not take.
                self.leave(key)
            elif place.waits:
                self._line.remove(place)
            raise

    def leave(self, key: str | None = None) -> None:
        """Give the slot to the next in line."""
        self.running -= 1
        self._running_of[key] -= 1
        if not self._running_of[key]:
            del self._running_of[key]
        while self.waiting:
            place = self._line.pop(self._clock(), self._running_of)
            # Its task may have been cancelled and not have run since.
            if not place.item.done():
                self._take(place.key)
                place.item.set_result(None)
                return

    def _take(self, key: str | None) -> None:
        self.running += 1
        self._running_of[key] += 1
