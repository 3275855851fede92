from __future__ import annotations

import asyncio
from typing import Any

from enginix.gateway.http.flow import Event, Flow, Pipeline


async def waiting(*works: Any) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(work) for work in works]
    await asyncio.sleep(0)
    return tasks


async def test_all_that_wait_for_an_event_go_on_when_it_is_set() -> None:
    event = Event()
    tasks = await waiting(event.wait(), event.wait())
    event.set()
    await asyncio.gather(*tasks)
    await event.wait()


async def test_one_that_waits_no_longer_does_not_keep_an_event_from_the_others() -> None:
    event = Event()
    left, stays = await waiting(event.wait(), event.wait())
    left.cancel()
    event.set()
    await stays


async def test_a_cleared_event_is_waited_for() -> None:
    event = Event()
    event.set()
    event.clear()
    (task,) = await waiting(event.wait())
    assert not task.done()
    event.set()
    await task


class Transport:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")


def flow() -> tuple[Flow, Transport]:
    transport: Any = Transport()
    return Flow(transport), transport


async def test_a_paused_writer_waits_until_it_is_resumed() -> None:
    one, _ = flow()
    await one.drain()
    one.pause_writing()
    one.pause_writing()
    (task,) = await waiting(one.drain())
    assert one.write_paused
    assert not task.done()
    one.resume_writing()
    await task
    assert not one.write_paused
    await one.drain()


async def test_reading_is_paused_and_resumed_once() -> None:
    one, transport = flow()
    one.resume_reading()
    one.pause_reading()
    one.pause_reading()
    one.resume_reading()
    one.resume_reading()
    assert transport.calls == ["pause", "resume"]


def test_pipelined_requests_leave_in_the_order_in_which_they_came() -> None:
    line = Pipeline()
    for each in (1, 2, 3):
        line.appendleft(each)
    assert [line.pop() for _ in range(3)] == [1, 2, 3]
