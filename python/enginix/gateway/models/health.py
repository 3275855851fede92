"""Whether tokens come out of a model: real traffic's progress first, a probe when there is none.

A server's own readiness is not asked: Triton's stays green with a dead or hung model behind it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from enginix.errors import BackendError, BackendTimedOut, BackendUnavailable, EnginixError

logger = logging.getLogger(__name__)

# A token or a probe's answer speaks for the model this long.
FRESH_SECONDS = 5.0
# A bad answer is old much sooner: who waits for a model to come up wants to know at once.
BAD_SECONDS = 0.25
# Who asks for health waits no longer; the probe itself goes on.
ANSWER_SECONDS = 1.5
# Triton's words for a full queue, which is no sign of death.
QUEUE_IS_FULL = "Exceeds maximum queue size"


@dataclass(frozen=True, slots=True)
class Health:
    ok: bool
    reason: str


class Liveness:
    """One model's. `probe` returns once a token came out and raises BackendError otherwise."""

    def __init__(
        self,
        probe: Callable[[], Awaitable[None]],
        *,
        fresh: float = FRESH_SECONDS,
        patience: float = ANSWER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._probe = probe
        self._fresh = fresh
        self._patience = patience
        self._clock = clock
        self.last_token = -float("inf")
        """Written by whoever sees tokens, on `clock`; an attribute, for it is once per token."""
        self.down: str | None = None
        """Why nothing can come of a request, when a probe was refused; a slow one is no proof."""
        self._suspect: str | None = None
        self._probed_at = -float("inf")
        self._probed = Health(False, "no token has come out yet")
        self._probing: asyncio.Task[Health] | None = None

    def failed(self, error: BackendError) -> None:
        """A stream broke. An answered error is the model's word; silence makes it suspect."""
        if isinstance(error, BackendUnavailable | BackendTimedOut):
            self._suspect = str(error)
            self._probed_at = -float("inf")
            self.last_token = -float("inf")

    def seconds_since_token(self) -> float | None:
        """None before the first one."""
        silent = self._clock() - self.last_token
        return round(silent, 1) if silent < float("inf") else None

    async def health(self) -> Health:
        """Answers within the patience; probes at most once at a time, however many ask."""
        now = self._clock()
        if now - self.last_token <= self._fresh:
            return Health(True, "tokens are coming out")
        if now - self._probed_at <= (self._fresh if self._probed.ok else BAD_SECONDS):
            return self._probed
        probing = self._probing or self._start_probe()
        done, _ = await asyncio.wait({probing}, timeout=self._patience)
        if done:
            return probing.result()
        # Slow to answer is no proof of death; a broken stream before it is.
        if self._suspect or not self._probed.ok:
            return Health(False, self._suspect or self._probed.reason)
        return Health(True, "the last answer was good, the next one is being waited for")

    async def close(self) -> None:
        if self._probing:
            self._probing.cancel()
            await asyncio.wait({self._probing})

    def _start_probe(self) -> asyncio.Task[Health]:
        self._probing = asyncio.create_task(self._ask())
        return self._probing

    async def _ask(self) -> Health:
        try:
            await self._probe()
        except EnginixError as error:
            refused = isinstance(error, BackendUnavailable) and QUEUE_IS_FULL not in str(error)
            self.down = str(error) if refused else None
            self._conclude(Health(False, str(error)))
        else:
            self._suspect = self.down = None
            self._conclude(Health(True, "a probe's token came out"))
        return self._probed

    def _conclude(self, health: Health) -> None:
        if health.ok != self._probed.ok:
            logger.warning("health: %s: %s", "good" if health.ok else "bad", health.reason)
        self._probed, self._probed_at, self._probing = health, self._clock(), None
