"""Watches a server with probes and with what real traffic says, until the judge finds it dead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from enginix.errors import BackendError
from enginix.serve.judge import Judge, Policy

Probe = Callable[[], Awaitable[None]]


class Seen(NamedTuple):
    """What is seen of real requests; `tokens` is None when nobody can say."""

    tokens: float | None = None
    suspicion: bool = False
    """One waits for its first token while later ones have theirs, or has timed out."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """What can be asked of a running server.

    `probe` returns once a token came out and raises BackendError otherwise; `processor_seconds`
    are those of all its processes.
    """

    probe: Probe
    traffic: Callable[[], Awaitable[Seen]]
    processor_seconds: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Clock:
    """Time, so that a test can have its own."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


POLICY = Policy()
CLOCK = Clock()


async def until_dead(vitals: Vitals, policy: Policy = POLICY, clock: Clock = CLOCK) -> str:
    """Return only when the server is dead, wedged or partly dead: the sentence says why."""
    judge = Judge(policy, clock.now())
    probes: set[asyncio.Task[None]] = set()
    try:
        while judge.verdict is None:
            await clock.sleep(judge.next_look)
            seen = await vitals.traffic()
            for _ in range(judge.look(clock.now(), *seen)):
                probes.add(asyncio.create_task(_probe(judge, vitals, clock)))
            for task in [task for task in probes if task.done()]:
                probes.remove(task)
                # A fault of ours must not look like a healthy server.
                task.result()
    finally:
        for task in probes:
            task.cancel()
        if probes:
            await asyncio.wait(probes)
    return judge.verdict


async def _probe(judge: Judge, vitals: Vitals, clock: Clock) -> None:
    number = judge.started(clock.now(), vitals.processor_seconds())
    try:
        await vitals.probe()
    except BackendError as error:
        judge.failed(number, clock.now(), vitals.processor_seconds(), str(error))
    else:
        judge.answered(number, clock.now())
