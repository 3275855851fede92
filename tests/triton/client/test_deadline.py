from __future__ import annotations

import asyncio
from math import inf

import uvloop

from enginix.triton.client.deadline import Deadline


class Alarm:
    """A deadline, and when it fired."""

    def __init__(self) -> None:
        self.calls: list[float] = []
        self.rang = asyncio.Event()
        self.deadline = Deadline(self._ring)

    def _ring(self) -> None:
        self.calls.append(asyncio.get_running_loop().time())
        self.rang.set()


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_it_calls_once_when_its_time_is_up() -> None:
    alarm, begun = Alarm(), now()
    alarm.deadline.start(0.03)
    await alarm.rang.wait()
    await asyncio.sleep(0.05)
    assert len(alarm.calls) == 1
    assert alarm.calls[0] - begun >= 0.03


async def test_a_stopped_one_does_not_call() -> None:
    alarm = Alarm()
    alarm.deadline.start(0.01)
    alarm.deadline.stop()
    await asyncio.sleep(0.05)
    assert not alarm.calls


async def test_one_that_is_moved_counts_from_the_last_move() -> None:
    alarm = Alarm()
    # Long enough for a busy machine not to be late with a move.
    for _ in range(10):
        alarm.deadline.start(0.6)
        await asyncio.sleep(0.01)
    moved = now()
    alarm.deadline.start(0.6)
    await alarm.rang.wait()
    assert alarm.calls[0] - moved >= 0.6


async def test_a_shorter_time_after_a_longer_one_holds() -> None:
    alarm, begun = Alarm(), now()
    alarm.deadline.start(60)
    alarm.deadline.start(0.02)
    await alarm.rang.wait()
    assert alarm.calls[0] - begun < 30


async def test_a_time_that_is_past_already_calls_at_once() -> None:
    alarm = Alarm()
    alarm.deadline.start(-1)
    alarm.deadline.start(-2)
    await alarm.rang.wait()
    assert len(alarm.calls) == 1


def test_uvloop_keeps_such_a_time_too() -> None:
    async def past() -> None:
        await test_a_time_that_is_past_already_calls_at_once()

    uvloop.run(past())


async def test_no_limit_never_calls() -> None:
    alarm = Alarm()
    alarm.deadline.start(inf)
    await asyncio.sleep(0.01)
    assert not alarm.calls


async def test_a_closed_one_does_not_call() -> None:
    alarm = Alarm()
    alarm.deadline.start(0.01)
    alarm.deadline.close()
    await asyncio.sleep(0.05)
    assert not alarm.calls
