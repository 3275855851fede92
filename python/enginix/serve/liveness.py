"""Tells a wedged server from a busy one by what comes out of it, and by the work it does.

Tokens of real traffic are the best proof. Without any, a one-token probe is sent; three in a row
that fail while the server does no work mean that it is wedged. One that computes without a word,
as a long prefill does, is left alone for as long as a prefill may take.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from enginix.errors import BackendError


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds; with these a wedged server is found out within ten."""

    look_every: float = 1.5
    probe_every: float = 3.0
    """What an idle server is left in peace for after a good probe."""
    strikes: int = 3
    shortest_strike: float = 0.5
    """A refusal comes at once; this much time goes by all the same before it counts."""
    busy: float = 120.0
    """A server that works may be silent this long."""
    working: float = 0.2
    """Processor seconds a second that are work: an idle server's timers need far less."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """What can be asked of a running server.

    `probe` returns once a token came out and raises BackendError otherwise; `tokens` counts those
    of real traffic, None when nobody can say; `processor_seconds` are those of all its processes.
    """

    probe: Callable[[], Awaitable[None]]
    tokens: Callable[[], Awaitable[float | None]]
    processor_seconds: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Clock:
    """Time, so that a test can have its own."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


PATIENCE = Patience()
CLOCK = Clock()


async def until_wedged(vitals: Vitals, patience: Patience = PATIENCE, clock: Clock = CLOCK) -> str:
    """Return only when the server is wedged: the sentence says by what it is known."""
    watch = _Watch(vitals, patience, clock)
    while True:
        await clock.sleep(patience.look_every)
        if verdict := await watch.look():
            return verdict


class _Watch:
    def __init__(self, vitals: Vitals, patience: Patience, clock: Clock) -> None:
        self._vitals = vitals
        self._patience = patience
        self._clock = clock
        self._tokens: float | None = None
        self._last_progress = self._last_probe = clock.now()

    async def look(self) -> str | None:
        if await self._progressed():
            return None
        now = self._clock.now()
        if self._last_probe == self._last_progress and (
            now - self._last_probe < self._patience.probe_every
        ):
            return None
        return await self._strikes()

    async def _progressed(self) -> bool:
        before, self._tokens = self._tokens, await self._vitals.tokens()
        if self._tokens is None or before is None or self._tokens == before:
            return False
        self._last_progress = self._clock.now()
        return True

    async def _strikes(self) -> str | None:
        """Probe until one is answered, the server is seen to work, or the last strike is out."""
        for _ in range(self._patience.strikes):
            reason, worked = await self._struck()
            if reason is None:
                self._last_progress = self._last_probe = self._clock.now()
                return None
            silent = self._clock.now() - self._last_progress
            if worked and silent < self._patience.busy:
                return None
        if worked:
            return f"it was busy for {silent:.0f} s and no token came out: {reason}"
        return f"no token came out, {self._patience.strikes} times in a row: {reason}"

    async def _struck(self) -> tuple[str | None, bool]:
        """Why a probe failed, None when it did not; and whether the server worked meanwhile."""
        began, spent = self._clock.now(), self._vitals.processor_seconds()
        try:
            await self._vitals.probe()
        except BackendError as error:
            reason = str(error)
        else:
            return None, True
        took = self._clock.now() - began
        if took < self._patience.shortest_strike:
            await self._clock.sleep(self._patience.shortest_strike - took)
        if await self._progressed():
            return None, True
        elapsed = self._clock.now() - began
        work = self._vitals.processor_seconds() - spent
        return reason, work >= self._patience.working * elapsed
