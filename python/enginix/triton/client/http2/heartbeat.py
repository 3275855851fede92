"""Detects a frozen server, whose kernel would keep the connection open for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

# A timer that fires later than this was delayed by our own process, which may then have left
# received bytes unread.
LATE_SECONDS = 1.0


class Heartbeat:
    """Calls `ping` after `silence` seconds without a byte, and `dead` after `patience` more.

    The connection writes the time of every read into `last_read`.
    """

    def __init__(
        self,
        *,
        ping: Callable[[], None],
        dead: Callable[[], None],
        silence: float,
        patience: float,
    ) -> None:
        self._ping = ping
        self._dead = dead
        self._silence = silence
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.last_read = self._loop.time()
        # The value of `last_read` when the last ping was sent.
        self._read_at_ping: float | None = None

    def start(self) -> None:
        """Watch from now on. A connection without streams may be silent."""
        self.stop()
        self.last_read = self._loop.time()
        self._read_at_ping = None
        self._schedule(self.last_read + self._silence)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self, due: float) -> None:
        self._timer = self._loop.call_at(due, self._check, due)

    def _check(self, due: float) -> None:
        now = self._loop.time()
        unanswered = self._read_at_ping == self.last_read
        if now < self.last_read + self._silence:
            self._read_at_ping = None
            self._schedule(self.last_read + self._silence)
        elif unanswered and now < due + LATE_SECONDS:
            self._timer = None
            self._dead()
        else:
            self._read_at_ping = self.last_read
            self._ping()
            self._schedule(now + self._patience)
