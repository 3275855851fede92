"""Measures several servers in turns, so that a drift of the machine or network hits all alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from enginix.bench.answer import Answer
from enginix.bench.load import Level, Limit, Run, put_under_load
from enginix.bench.report.servers import Server
from enginix.bench.summary import Summary, summarized

# A sweep ends when twice the requests bring less than this much more throughput.
MIN_GROWTH = 0.05


@dataclass(frozen=True, slots=True)
class Plan:
    single: Sequence[int]
    """Output tokens of the single streams."""
    parallel: Sequence[int]
    """Concurrent requests, ascending; the sweep continues with twice the last one."""
    max_concurrency: int
    max_tokens: int
    """The tokens of a parallel answer."""
    runs: int
    requests: int
    """Requests per concurrent stream and run."""


@dataclass(frozen=True, slots=True)
class Contender:
    server: Server
    ask: Callable[[int], Awaitable[Answer]]
    """Sends the next prompt, for an answer of that many tokens."""


@dataclass(slots=True)
class Measured:
    """One server at one level, in all its runs."""

    server: Server
    concurrency: int
    max_tokens: int
    runs: list[Run] = field(default_factory=list)
    complete: bool = False

    @property
    def answers(self) -> list[Answer]:
        return [answer for run in self.runs for answer in run.answers]

    @property
    def tokens_per_second(self) -> float:
        tokens = sum(answer.tokens for answer in self.answers if not answer.failure)
        return tokens / max(sum(run.seconds for run in self.runs), 1e-9)

    def summary(self) -> Summary:
        """The summary of all runs together."""
        return summarized(
            Run(
                Level(concurrency=self.concurrency),
                self.answers,
                sum(run.seconds for run in self.runs),
                sum(run.cpu_seconds for run in self.runs),
                max((run.failures_in_a_row for run in self.runs), default=0),
            )
        )


class Observer(Protocol):
    """Shows the progress of a measurement."""

    def level(self, title: str, requests: int) -> None: ...

    def answered(self, answer: Answer) -> None: ...

    def measured(self, servers: Sequence[Measured]) -> None: ...


class Measurement:
    """Its results grow while it runs: an interrupted measurement keeps what it has."""

    def __init__(self, contenders: Sequence[Contender], plan: Plan, observer: Observer) -> None:
        self.single: list[Measured] = []
        self.parallel: list[Measured] = []
        self._contenders = contenders
        self._plan = plan
        self._observer = observer

    async def run(self) -> None:
        plan = self._plan
        for tokens in plan.single:
            await self._level(self.single, self._contenders, 1, tokens)
        for concurrency in plan.parallel:
            await self._level(self.parallel, self._contenders, concurrency, plan.max_tokens)
        concurrency = 2 * plan.parallel[-1]
        while concurrency <= plan.max_concurrency and (growing := self._growing()):
            await self._level(self.parallel, growing, concurrency, plan.max_tokens)
            concurrency *= 2

    def _growing(self) -> list[Contender]:
        return [
            each
            for each in self._contenders
            if saturated_at(levels_of(each.server, self.parallel)) is None
        ]

    async def _level(
        self,
        results: list[Measured],
        contenders: Sequence[Contender],
        concurrency: int,
        tokens: int,
    ) -> None:
        """All runs of one level. A server that answered nothing at the last level is left out."""
        plan = self._plan
        pairs = [
            (each, Measured(each.server, concurrency, tokens))
            for each in contenders
            if not _is_down(levels_of(each.server, [*self.single, *self.parallel]))
        ]
        name = f"{concurrency} concurrent" if results is self.parallel else "single stream"
        requests = concurrency * plan.requests
        total = len(pairs) * (concurrency + plan.runs * requests)
        self._observer.level(f"{name}, {tokens} tokens", total)
        for contender, _ in pairs:
            await self._run(contender, Run(Level(concurrency=concurrency)), concurrency, tokens)
        results += [measured for _, measured in pairs]
        for number in range(plan.runs):
            # Every other round goes backwards, so that none is always first.
            for contender, measured in pairs if number % 2 == 0 else pairs[::-1]:
                run = Run(Level(concurrency=concurrency))
                measured.runs.append(run)
                await self._run(contender, run, requests, tokens)
                measured.complete = len(measured.runs) == plan.runs
        self._observer.measured([measured for _, measured in pairs])

    async def _run(self, contender: Contender, run: Run, requests: int, tokens: int) -> None:
        limit, tell = Limit(requests=requests), self._observer.answered
        await put_under_load(run, limit, lambda: contender.ask(tokens), tell)


def levels_of(server: Server, results: Sequence[Measured]) -> list[Measured]:
    """The levels that it completed."""
    return [each for each in results if each.server is server and each.complete]


def _is_down(levels: Sequence[Measured]) -> bool:
    return bool(levels) and all(answer.failure for answer in levels[-1].answers)


def saturated_at(levels: Sequence[Measured]) -> int | None:
    """The index of the first level after which throughput grows by less than MIN_GROWTH."""
    rates = [each.tokens_per_second for each in levels]
    for index in range(len(rates) - 1):
        if rates[index + 1] < (1 + MIN_GROWTH) * max(rates[: index + 1]):
            return index
    return None
