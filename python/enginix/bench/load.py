"""Puts a server under load: so many requests at once, or so many a second."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from enginix.bench.answer import Answer

# A server that is gone refuses thousands a second: nothing is learnt from more of them.
MOST_FAILURES_IN_A_ROW = 100


@dataclass(frozen=True, slots=True)
class Level:
    """Exactly one of the two: a number of requests at once, or new ones a second."""

    concurrency: int | None = None
    rate: float | None = None

    @property
    def label(self) -> str:
        return str(self.concurrency) if self.concurrency else f"{self.rate:g}/s"


@dataclass(frozen=True, slots=True)
class Limit:
    """When no further request is begun; those that run come to their end."""

    requests: int | None = None
    seconds: float | None = None


@dataclass(slots=True)
class Run:
    """What came of one level; it fills while it runs, so that an interrupted one counts."""

    level: Level
    answers: list[Answer] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """This process' own."""
    failures_in_a_row: int = 0

    @property
    def given_up(self) -> bool:
        return self.failures_in_a_row >= MOST_FAILURES_IN_A_ROW


Ask = Callable[[], Awaitable[Answer]]


async def put_under_load(
    run: Run, limit: Limit, ask: Ask, tell: Callable[[Answer], None], seed: int = 0
) -> None:
    """Ask until the limit; `run` holds every answer that ended, whatever ends this."""
    begun, cpu = time.perf_counter(), time.process_time()

    async def one() -> None:
        answer = await ask()
        run.answers.append(answer)
        run.failures_in_a_row = run.failures_in_a_row + 1 if answer.failure else 0
        run.seconds = time.perf_counter() - begun
        run.cpu_seconds = time.process_time() - cpu
        tell(answer)

    turns = _turns(run, limit, begun)
    if run.level.concurrency:
        await _keep_busy(run.level.concurrency, turns, one)
    else:
        assert run.level.rate, "a level has one of the two"
        await _arrive(run.level.rate, turns, one, random.Random(seed))


def _turns(run: Run, limit: Limit, begun: float) -> Iterator[None]:
    """One item for each request that may still begin."""
    number = 0
    until = begun + (math.inf if limit.seconds is None else limit.seconds)
    most = math.inf if limit.requests is None else limit.requests
    while number < most and not run.given_up and time.perf_counter() < until:
        number += 1
        yield


async def _keep_busy(
    concurrency: int, turns: Iterator[None], one: Callable[[], Awaitable[None]]
) -> None:
    async def worker() -> None:
        for _ in turns:
            await one()

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(worker())


async def _arrive(
    rate: float,
    turns: Iterator[None],
    one: Callable[[], Awaitable[None]],
    draw: random.Random,
) -> None:
    """As a Poisson process: independent clients, who do not wait for each other's answers."""

    async def arrived() -> None:
        await one()

    due = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in turns:
            group.create_task(arrived())
            due += draw.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
