"""A deadline that moves with every token at almost no cost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf


class Deadline:
    """Calls `expired` once if `start`'s seconds pass without `stop`.

    Moving it writes one number. The timer fires at most once per period and then checks whether the
    time is up: setting and cancelling a timer for each token costs more than the token.
    """

    __slots__ = ("_expired", "_fires_at", "_loop", "_timer", "due")

    def __init__(self, expired: Callable[[], None]) -> None:
        self._expired = expired
        self._loop = asyncio.get_running_loop()
        # Once started, it may be set to a later moment of the loop's clock.
        self.due = inf
        # When the timer fires next, if it is set.
        self._fires_at = inf
        self._timer: asyncio.TimerHandle | None = None

    def start(self, seconds: float) -> None:
        due = self.due = self._loop.time() + seconds
        if due < self._fires_at:
            self._arm(due)

    def stop(self) -> None:
        self.due = inf

    def close(self) -> None:
        self.due = inf
        self._arm(inf)

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fires_at = due
        self._timer = None if due == inf else self._loop.call_at(due, self._check)

    def _check(self) -> None:
        self._timer, self._fires_at = None, inf
        if self.due > self._loop.time():
            self._arm(self.due)
        else:
            self.due = inf
            self._expired()
