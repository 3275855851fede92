"""The order in which servers are measured, and when the sweep ends."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import pytest

from enginix.bench.answer import Answer
from enginix.bench.report.measure import (
    Contender,
    Measured,
    Measurement,
    Plan,
    saturated_at,
)
from tests.bench.report.made import answer, measured, server


class Silent:
    def __init__(self) -> None:
        self.levels: list[tuple[str, int]] = []
        self.answers = 0

    def level(self, title: str, requests: int) -> None:
        self.levels.append((title, requests))

    def answered(self, answer: Answer) -> None:
        self.answers += 1

    def measured(self, servers: Sequence[Measured]) -> None: ...


class Asked:
    """Contenders whose requests are noted in their order."""

    def __init__(self) -> None:
        self.order: list[tuple[str, int]] = []

    def contender(self, name: str, failure: str | None = None) -> Contender:
        async def ask(tokens: int) -> Answer:
            self.order.append((name, tokens))
            await asyncio.sleep(0)
            return answer(tokens, failure)

        return Contender(server(name), ask)


def plan(
    *, single: Sequence[int] = (), parallel: Sequence[int] = (1,), runs: int = 1, most: int = 1
) -> Plan:
    return Plan(single, parallel, most, max_tokens=3, runs=runs, requests=1)


async def test_servers_take_turns_and_none_is_always_first() -> None:
    asked = Asked()
    contenders = [asked.contender("a"), asked.contender("b")]

    await Measurement(contenders, plan(single=[7], runs=3), Silent()).run()

    singles = [name for name, tokens in asked.order if tokens == 7]
    assert singles == ["a", "b", *"ab", *"ba", *"ab"]  # The first two are not counted.


async def test_every_request_is_of_its_level_and_reported() -> None:
    asked, silent = Asked(), Silent()
    measurement = Measurement([asked.contender("a")], plan(single=[5, 9], parallel=[2, 4]), silent)

    await measurement.run()

    assert silent.levels == [
        ("single stream, 5 tokens", 2),
        ("single stream, 9 tokens", 2),
        ("2 concurrent, 3 tokens", 4),
        ("4 concurrent, 3 tokens", 8),
    ]
    assert silent.answers == len(asked.order) == 16
    assert [len(each.answers) for each in (*measurement.single, *measurement.parallel)] == [
        *(1, 1),
        *(2, 4),
    ]
    assert all(each.complete for each in measurement.single)


async def test_a_server_that_answers_nothing_is_left_out_of_the_other_levels() -> None:
    asked = Asked()
    contenders = [asked.contender("down", "no connection"), asked.contender("up")]

    measurement = Measurement(contenders, plan(single=[5, 9], parallel=[1]), Silent())
    await measurement.run()

    assert {tokens for name, tokens in asked.order if name == "down"} == {5}
    assert {tokens for name, tokens in asked.order if name == "up"} == {5, 9, 3}


async def swept(*tokens: int, parallel: Sequence[int], most: int) -> list[int]:
    """The levels of a server whose n-th answer has the n-th number of tokens, then the last."""
    counts = itertools.chain(tokens, itertools.repeat(tokens[-1]))

    async def ask(_: int) -> Answer:
        return Answer(arrivals=[0.1], ended=0.1, output_tokens=next(counts))

    measurement = Measurement(
        [Contender(server("a"), ask)], plan(parallel=parallel, most=most), Silent()
    )
    await measurement.run()
    return [each.concurrency for each in measurement.parallel]


async def test_the_sweep_doubles_while_throughput_grows() -> None:
    growing = [10 ** (number // 2) for number in range(200)]

    assert await swept(*growing, parallel=[2, 3], most=12) == [2, 3, 6, 12]


async def test_the_sweep_ends_where_throughput_does_not_grow() -> None:
    # Each level has as many requests again that are not counted.
    first, second, rest = [1] * 2, [10**9] * 4, [1]

    assert await swept(*first, *second, *rest, parallel=[1, 2], most=64) == [1, 2, 4]
    assert await swept(*second, *rest, parallel=[2, 4], most=64) == [2, 4]


@pytest.mark.parametrize(
    ("rates", "index"),
    [
        ([], None),
        ([10], None),
        ([10, 20, 40], None),
        ([10, 20, 20.9], 1),
        ([10, 20, 21.1], None),
        ([10, 9, 40], 0),
        ([10, 0], 0),
    ],
)
def test_saturation_is_the_last_level_before_growth_ends(
    rates: list[float], index: int | None
) -> None:
    levels = [measured(server("a"), 2**number, rate or 1e-9) for number, rate in enumerate(rates)]

    assert saturated_at(levels) == index


async def test_an_interrupted_level_keeps_its_answers_and_is_incomplete() -> None:
    started = asyncio.Event()
    count = itertools.count()

    async def ask(tokens: int) -> Answer:
        if next(count) == 3:
            started.set()
            await asyncio.Event().wait()
        return answer(tokens)

    measurement = Measurement([Contender(server("a"), ask)], plan(single=[5, 9], runs=2), Silent())
    running = asyncio.create_task(measurement.run())
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    # One is not counted, two are the first length's runs; the second length only warmed up.
    assert [(each.max_tokens, len(each.answers), each.complete) for each in measurement.single] == [
        (5, 2, True)
    ]
