"""Detects a frozen server, whose kernel would keep the connection open for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

# A timer that fires later than this was delayed by our own process, which may then have left
# received bytes unread.
LATE_SECONDS = 1.0


class Heartbeat:
    """Calls `ask` after `silence` seconds without a byte, and `dead` after `patience` more.

    The connection writes the time of every read into `heard`.
    """

    def __init__(
        self,
        *,
        ask: Callable[[], None],
        dead: Callable[[], None],
        silence: float,
        patience: float,
    ) -> None:
        self._ask = ask
        self._dead = dead
        self._silence = silence
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.heard = self._loop.time()
        # The value of `heard` when the last ping was sent.
        self._heard_before: float | None = None

    def start(self) -> None:
        """Watch from now on. A connection without streams may be silent."""
        self.stop()
        self.heard = self._loop.time()
        self._heard_before = None
        self._look_at(self.heard + self._silence)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_at(self, due: float) -> None:
        self._timer = self._loop.call_at(due, self._look, due)

    def _look(self, due: float) -> None:
        now = self._loop.time()
        unanswered = self._heard_before == self.heard
        if now < self.heard + self._silence:
            self._heard_before = None
            self._look_at(self.heard + self._silence)
        elif unanswered and now < due + LATE_SECONDS:
            self._timer = None
            self._dead()
        else:
            self._heard_before = self.heard
            self._ask()
            self._look_at(now + self._patience)
