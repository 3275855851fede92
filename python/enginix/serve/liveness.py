"""Watches a server by probes and by its real traffic, until it is found dead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from enginix.errors import BackendError
from enginix.serve.wedge import Policy, WedgeDetector

Probe = Callable[[], Awaitable[None]]


class Seen(NamedTuple):
    """What real requests show; `tokens` is None if unknown."""

    tokens: float | None = None
    suspicion: bool = False
    """One waits for its first token while later ones have theirs, or has timed out."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """How a running server is observed.

    `probe` returns once a token came out and raises BackendError otherwise; `processor_seconds`
    counts all its processes, and `processor_waits` how long they, or this one, were kept waiting.
    """

    probe: Probe
    traffic: Callable[[], Awaitable[Seen]]
    processor_seconds: Callable[[], float]
    processor_waits: Callable[[], float] = lambda: 0.0


@dataclass(frozen=True, slots=True)
class Clock:
    """The time, which a test can replace."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


POLICY = Policy()
CLOCK = Clock()


async def until_dead(vitals: Vitals, policy: Policy = POLICY, clock: Clock = CLOCK) -> str:
    """Return only when the server is dead, wedged or partly dead: the sentence says why."""
    detector = WedgeDetector(policy, clock.now())
    probes: set[asyncio.Task[None]] = set()
    try:
        while detector.verdict is None:
            await clock.sleep(detector.next_look)
            seen = await vitals.traffic()
            for _ in range(detector.look(clock.now(), *seen)):
                probes.add(asyncio.create_task(_probe(detector, vitals, clock)))
            for task in [task for task in probes if task.done()]:
                probes.remove(task)
                # A bug in this program must not look like a healthy server.
                task.result()
    finally:
        for task in probes:
            task.cancel()
        if probes:
            await asyncio.wait(probes)
    return detector.verdict


async def _probe(detector: WedgeDetector, vitals: Vitals, clock: Clock) -> None:
    spent, waited = vitals.processor_seconds, vitals.processor_waits
    number = detector.started(clock.now(), spent(), waited())
    try:
        await vitals.probe()
    except BackendError as error:
        detector.failed(number, clock.now(), spent(), str(error), waited())
    else:
        detector.answered(number, clock.now())
