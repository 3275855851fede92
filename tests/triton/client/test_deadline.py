from __future__ import annotations

import asyncio
from math import inf

import uvloop

from enginix.triton.client.deadline import Deadlines


class Alarm:
    """One that may be due, and when it was."""

    def __init__(self, all: list[Alarm] | None = None) -> None:
        self.calls: list[float] = []
        self.rang = asyncio.Event()
        self.due = inf
        all = [] if all is None else all
        all.append(self)
        self.deadlines = Deadlines(all)

    def start(self, seconds: float) -> None:
        self.deadlines.start(self, seconds)

    def expired(self) -> None:
        self.calls.append(asyncio.get_running_loop().time())
        self.rang.set()


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_it_calls_once_when_its_time_is_up() -> None:
    alarm, begun = Alarm(), now()
    alarm.start(0.03)
    await alarm.rang.wait()
    await asyncio.sleep(0.05)
    assert len(alarm.calls) == 1
    assert alarm.calls[0] - begun >= 0.03


async def test_a_stopped_one_does_not_call() -> None:
    alarm = Alarm()
    alarm.start(0.01)
    alarm.due = inf
    await asyncio.sleep(0.05)
    assert not alarm.calls


async def test_one_that_is_moved_counts_from_the_last_move() -> None:
    alarm = Alarm()
    # Long enough for a busy machine not to be late with a move.
    for _ in range(10):
        alarm.start(0.6)
        await asyncio.sleep(0.01)
    moved = now()
    alarm.start(0.6)
    await alarm.rang.wait()
    assert alarm.calls[0] - moved >= 0.6


async def test_a_shorter_time_after_a_longer_one_holds() -> None:
    alarm, begun = Alarm(), now()
    alarm.start(60)
    alarm.start(0.02)
    await alarm.rang.wait()
    assert alarm.calls[0] - begun < 30


async def test_a_time_that_is_past_already_calls_at_once() -> None:
    alarm = Alarm()
    alarm.start(-1)
    alarm.start(-2)
    await alarm.rang.wait()
    assert len(alarm.calls) == 1


def test_uvloop_keeps_such_a_time_too() -> None:
    async def past() -> None:
        await test_a_time_that_is_past_already_calls_at_once()

    uvloop.run(past())


async def test_no_limit_never_calls() -> None:
    alarm = Alarm()
    alarm.start(inf)
    await asyncio.sleep(0.01)
    assert not alarm.calls


async def test_a_closed_one_does_not_call() -> None:
    alarm = Alarm()
    alarm.start(0.01)
    alarm.deadlines.close()
    await asyncio.sleep(0.05)
    assert not alarm.calls


async def test_each_of_several_calls_in_its_time() -> None:
    all: list[Alarm] = []
    late, soon, moved = (Alarm(all) for _ in range(3))
    deadlines = Deadlines(all)
    begun = now()
    deadlines.start(late, 0.06)
    deadlines.start(moved, 0.01)
    deadlines.start(soon, 0.03)
    moved.due = now() + 60
    await late.rang.wait()
    assert soon.calls[0] - begun >= 0.03
    assert late.calls[0] - begun >= 0.06
    assert not moved.calls
    deadlines.close()


async def test_one_that_has_gone_does_not_call() -> None:
    all: list[Alarm] = []
    gone, left = Alarm(all), Alarm(all)
    deadlines = Deadlines(all)
    deadlines.start(gone, 0.01)
    deadlines.start(left, 0.02)
    all.remove(gone)
    await left.rang.wait()
    assert not gone.calls
