"""How many requests run concurrently and in total, and what an interrupted level keeps."""

from __future__ import annotations

import asyncio

import pytest

from enginix.bench.answer import Answer
from enginix.bench.load import Level, Limit, Run, put_under_load


class Server:
    """Answers on command, or at once."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.running = self.most = self.asked = 0
        self.changed = asyncio.Condition()
        self._at_once = at_once

    async def ask(self) -> Answer:
        self.asked += 1
        self.running += 1
        self.most = max(self.most, self.running)
        async with self.changed:
            self.changed.notify_all()
        await asyncio.sleep(0) if self._at_once else await asyncio.Event().wait()
        self.running -= 1
        return Answer(arrivals=[0.0])


@pytest.mark.parametrize(("concurrency", "requests"), [(1, 5), (3, 10), (8, 4)])
async def test_a_level_has_its_concurrency_and_its_total(concurrency: int, requests: int) -> None:
    server, run = Server(), Run(Level(concurrency=concurrency))

    await put_under_load(run, Limit(requests=requests), server.ask, lambda _: None)

    assert len(run.answers) == server.asked == requests
    assert server.most == min(concurrency, requests)


async def test_arrivals_do_not_wait_for_answers() -> None:
    server, run = Server(at_once=False), Run(Level(rate=1e6))
    load = asyncio.create_task(put_under_load(run, Limit(requests=20), server.ask, lambda _: None))

    async with server.changed:
        await server.changed.wait_for(lambda: server.running == 20)
    load.cancel()

    assert server.asked == 20


async def test_no_request_begins_after_the_time() -> None:
    server, run = Server(), Run(Level(concurrency=2))

    await put_under_load(run, Limit(seconds=0), server.ask, lambda _: None)

    assert server.asked == 0


async def test_a_server_that_is_down_is_given_up() -> None:
    run = Run(Level(concurrency=4))

    async def refuse() -> Answer:
        return Answer(failure="no connection: Connection refused")

    await put_under_load(run, Limit(seconds=600), refuse, lambda _: None)

    assert run.given_up
    assert len(run.answers) < 110


async def test_every_answer_is_reported_as_it_arrives() -> None:
    server, run = Server(), Run(Level(concurrency=2))
    told: list[Answer] = []

    await put_under_load(run, Limit(requests=6), server.ask, told.append)

    assert told == run.answers
    assert run.seconds > 0


async def test_an_interrupted_level_keeps_finished_answers() -> None:
    run = Run(Level(concurrency=1))
    waits = asyncio.Event()

    async def ask() -> Answer:
        if len(run.answers) == 3:
            waits.set()
            await asyncio.Event().wait()
        return Answer(arrivals=[0.0])

    load = asyncio.create_task(put_under_load(run, Limit(requests=9), ask, lambda _: None))
    await waits.wait()
    load.cancel()
    with pytest.raises(asyncio.CancelledError):
        await load

    assert len(run.answers) == 3
