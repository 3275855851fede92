"""A reader is continued where its data arrives, and stays the work of its task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any

import pytest

from enginix.generation.stepping import Arrival, stepped


class Source:
    """Items that a reader waits for, one Arrival after another."""

    def __init__(self) -> None:
        self.reader: Arrival | None = None
        self.items: list[int] = []
        self.closed = False

    async def next(self) -> int:
        while not self.items:
            self.reader = Arrival()
            await self.reader
        return self.items.pop(0)

    async def send(self, *items: int) -> None:
        """Outside of any task, as where a socket is read; then the reader's task may run."""
        asyncio.get_running_loop().call_soon(self.send_now, *items)
        await asyncio.sleep(0)

    def send_now(self, *items: int) -> None:
        self.items += items
        reader, self.reader = self.reader, None
        assert reader is not None, "there is a reader"
        reader.arrive()

    async def stream(self) -> AsyncIterator[int]:
        try:
            while (item := await self.next()) >= 0:
                yield item
        finally:
            self.closed = True


async def started(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """A task that has come to its first wait."""

    async def run() -> Any:
        return await stepped(work)

    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    return task


async def test_what_follows_an_arrival_runs_before_the_sender_goes_on() -> None:
    source, seen = Source(), list[int]()

    async def read() -> str:
        async for item in source.stream():
            seen.append(item)
        return "done"

    def send_all() -> None:
        for item in range(3):
            source.send_now(item)
            assert seen[-1] == item
            sent.append(item)

    sent = list[int]()
    task = await started(read())
    asyncio.get_running_loop().call_soon(send_all)
    await source.send(-1)
    assert await task == "done"
    assert sent == [0, 1, 2]
    assert source.closed


async def test_a_sender_in_a_task_leaves_it_to_the_readers_task() -> None:
    source, seen = Source(), list[Any]()

    async def read() -> None:
        while await source.next() >= 0:
            seen.append(asyncio.current_task())

    task = await started(read())
    source.send_now(1)
    assert not seen
    await asyncio.sleep(0)
    assert seen == [task]
    source.send_now(-1)
    await task


async def test_an_arrival_wakes_any_task_that_awaits_it() -> None:
    source = Source()
    task = asyncio.create_task(source.next())
    await asyncio.sleep(0)
    await source.send(7)
    assert await task == 7


async def test_an_error_is_the_tasks_and_not_the_senders() -> None:
    source = Source()

    async def read() -> None:
        raise ValueError(str(await source.next()))

    task = await started(read())
    await source.send(7)
    with pytest.raises(ValueError, match="7"):
        await task


async def test_work_that_never_waits_is_done_at_once() -> None:
    async def work() -> int:
        return 3

    assert await stepped(work()) == 3


async def test_other_waits_are_the_tasks_and_nothing_that_arrives_meanwhile_is_lost() -> None:
    source, seen = Source(), list[int]()
    may_write = asyncio.Event()

    async def read() -> None:
        async with aclosing(source.stream()) as items:
            async for item in items:
                if item == 1:
                    await may_write.wait()
                seen.append(item)

    task = await started(read())
    await source.send(0)
    await source.send(1)
    await asyncio.sleep(0)
    source.items += [2, 3]
    assert seen == [0]
    may_write.set()
    await asyncio.sleep(0.01)
    assert seen == [0, 1, 2, 3]
    await source.send(4)
    assert seen == [0, 1, 2, 3, 4]
    await source.send(-1)
    await task


async def test_a_cancelled_reader_is_cleaned_up_in_its_task() -> None:
    source, cleaned = Source(), list[Any]()

    async def read() -> None:
        try:
            async with aclosing(source.stream()) as items:
                async for _ in items:
                    pass
        finally:
            await asyncio.sleep(0)
            cleaned.append(asyncio.current_task())

    task = await started(read())
    await source.send(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned == [task]
    assert source.closed


async def test_one_that_catches_its_cancellation_goes_on() -> None:
    source = Source()

    async def read() -> int:
        try:
            return await source.next()
        except asyncio.CancelledError:
            return -1

    task = await started(read())
    task.cancel()
    assert await task == -1


async def test_a_cancellation_in_the_moment_of_the_end_is_not_lost() -> None:
    source = Source()
    task = await started(source.next())

    def send() -> None:
        source.send_now(5)
        task.cancel()

    asyncio.get_running_loop().call_soon(send)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_between_an_arrival_and_another_wait_reaches_the_work() -> None:
    source, ended = Source(), list[str]()

    async def read() -> None:
        await source.next()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    def send() -> None:
        source.send_now(1)
        task.cancel()

    task = await started(read())
    asyncio.get_running_loop().call_soon(send)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["cancelled"]


async def test_a_time_limit_works_that_begins_where_data_arrives() -> None:
    source = Source()

    async def read() -> str:
        await source.next()
        try:
            async with asyncio.timeout(0.01):
                await source.next()
        except TimeoutError:
            return "too late"
        return "in time"

    task = await started(read())
    await source.send(1)
    assert await task == "too late"


async def test_the_sender_keeps_its_own_task() -> None:
    source, seen = Source(), list[Any]()

    async def read() -> None:
        while await source.next() >= 0:
            seen.append(asyncio.current_task())

    task = await started(read())

    def send() -> None:
        source.send_now(1)
        seen.append(asyncio.current_task())

    asyncio.get_running_loop().call_soon(send)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert seen == [task, None]
    task.cancel()
