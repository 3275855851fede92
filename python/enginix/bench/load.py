"""Generates load: a number of concurrent requests, or of requests per second."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from enginix.bench.answer import Answer

# A server that is gone refuses thousands of requests per second: stop measuring.
MAX_FAILURES_IN_A_ROW = 100


@dataclass(frozen=True, slots=True)
class Level:
    """One of the two: concurrent requests, or new requests per second."""

    concurrency: int | None = None
    rate: float | None = None

    @property
    def label(self) -> str:
        return str(self.concurrency) if self.concurrency else f"{self.rate:g}/s"


@dataclass(frozen=True, slots=True)
class Limit:
    """When to stop starting requests; running ones finish."""

    requests: int | None = None
    seconds: float | None = None


@dataclass(slots=True)
class Run:
    """One level's results, filled while it runs, so that an interrupted run counts."""

    level: Level
    answers: list[Answer] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """CPU time of this process."""
    failures_in_a_row: int = 0
    drafts: tuple[int, int] | None = None
    """Drafted and accepted tokens, if the server counts them for all requests together."""

    @property
    def given_up(self) -> bool:
        return self.failures_in_a_row >= MAX_FAILURES_IN_A_ROW


Ask = Callable[[], Awaitable[Answer]]


async def put_under_load(
    run: Run, limit: Limit, ask: Ask, tell: Callable[[Answer], None], seed: int = 0
) -> None:
    """Send requests until the limit; `run` collects every finished answer, also on cancellation."""
    started, cpu = time.perf_counter(), time.process_time()

    async def one() -> None:
        answer = await ask()
        run.answers.append(answer)
        run.failures_in_a_row = run.failures_in_a_row + 1 if answer.failure else 0
        run.seconds = time.perf_counter() - started
        run.cpu_seconds = time.process_time() - cpu
        tell(answer)

    starts = _starts(run, limit, started)
    if run.level.concurrency:
        await _keep_busy(run.level.concurrency, starts, one)
    else:
        assert run.level.rate, "a level has one of the two"
        await _poisson(run.level.rate, starts, one, random.Random(seed))


def _starts(run: Run, limit: Limit, started: float) -> Iterator[None]:
    """One item for each request that may still start."""
    number = 0
    until = started + (math.inf if limit.seconds is None else limit.seconds)
    max_requests = math.inf if limit.requests is None else limit.requests
    while number < max_requests and not run.given_up and time.perf_counter() < until:
        number += 1
        yield


async def _keep_busy(
    concurrency: int, starts: Iterator[None], one: Callable[[], Awaitable[None]]
) -> None:
    async def worker() -> None:
        for _ in starts:
            await one()

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(worker())


async def _poisson(
    rate: float,
    starts: Iterator[None],
    one: Callable[[], Awaitable[None]],
    draw: random.Random,
) -> None:
    """A Poisson process: independent clients that do not wait for each other's answers."""

    async def arrived() -> None:
        await one()

    due = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in starts:
            group.create_task(arrived())
            due += draw.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
