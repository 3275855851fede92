"""Decides whether a model generates tokens: from real traffic, or by a probe when there is none.

A server's own readiness is ignored: Triton's stays true with a dead or hung model behind it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from enginix.errors import BackendError, BackendTimedOut, BackendUnavailable, EnginixError

logger = logging.getLogger(__name__)

# How long a token or a successful probe counts as evidence.
FRESH_SECONDS = 5.0
# A failure expires much sooner: a client that waits for a model to start wants to know at once.
BAD_SECONDS = 0.25
# How long a health request waits for the probe, which itself continues.
ANSWER_SECONDS = 1.5
# Triton's message for a full queue, which does not mean that the model is dead.
QUEUE_IS_FULL = "Exceeds maximum queue size"


@dataclass(frozen=True, slots=True)
class Health:
    ok: bool
    reason: str


class Liveness:
    """One model's liveness. `probe` returns once a token came out, or raises BackendError."""

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
        """Set by whoever receives tokens, on `clock`; an attribute because it is set per token."""
        self.down: str | None = None
        """Why requests cannot succeed, after a failed probe; a slow probe is no proof."""
        self._suspect: str | None = None
        self._probed_at = -float("inf")
        self._probed = Health(False, "no token has come out yet")
        self._probing: asyncio.Task[Health] | None = None

    def failed(self, error: BackendError) -> None:
        """A stream failed. An error response proves the model alive; silence makes it suspect."""
        if isinstance(error, BackendUnavailable | BackendTimedOut):
            self._suspect = str(error)
            self._probed_at = -float("inf")
            self.last_token = -float("inf")

    def seconds_since_token(self) -> float | None:
        """None before the first token."""
        silent = self._clock() - self.last_token
        return round(silent, 1) if silent < float("inf") else None

    async def health(self, patience: float | None = None) -> Health:
        """Answer within the time limit; run one probe at a time, however many ask."""
        now = self._clock()
        if now - self.last_token <= self._fresh:
            return Health(True, "tokens are coming out")
        if now - self._probed_at <= (self._fresh if self._probed.ok else BAD_SECONDS):
            return self._probed
        probing = self._probing or self._start_probe()
        done, _ = await asyncio.wait({probing}, timeout=patience or self._patience)
        if done:
            return probing.result()
        # A slow probe does not prove death; a broken stream before it does.
        if self._suspect or not self._probed.ok:
            return Health(False, self._suspect or self._probed.reason)
        return Health(True, "the last probe succeeded, the next is in progress")

    async def health_now(self) -> Health:
        """The same, but by a new probe after one that failed: the model may just have started."""
        if not self._probed.ok:
            self._probed_at = -float("inf")
        return await self.health()

    async def close(self) -> None:
        if self._probing:
            self._probing.cancel()
            await asyncio.wait({self._probing})

    def _start_probe(self) -> asyncio.Task[Health]:
        self._probing = asyncio.create_task(self._run_probe())
        return self._probing

    async def _run_probe(self) -> Health:
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
