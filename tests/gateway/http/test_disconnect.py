from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fakes.backend import FakeBackend
from gateway.harness import Call, application, ids, served, user

from enginix.gateway.settings import LoadLimits, Settings

REPLY = ids("One two three four five six seven")
either = pytest.mark.parametrize("stream", [True, False])


def chat(stream: bool, **body: Any) -> dict[str, Any]:
    return {"model": "demo", "messages": user("Hi"), "stream": stream, **body}


@either
async def test_a_client_that_left_before_its_body_was_read_causes_no_generation(
    stream: bool,
) -> None:
    backend = FakeBackend(REPLY)
    async with application(served(backend)) as app:
        call = Call(app, "/v1/chat/completions", chat(stream))
        call.leave()
        await call.run()
    assert backend.asked == []
    assert call.sent == []


@either
async def test_leaving_before_the_first_token_cancels(stream: bool) -> None:
    backend = FakeBackend(REPLY, stops_at=0)
    async with application(served(backend)) as app:
        call = Call(app, "/v1/chat/completions", chat(stream))
        running = asyncio.create_task(call.run())
        await backend.stuck.wait()
        call.leave()
        await running
        assert backend.running == 0


@either
async def test_leaving_in_mid_answer_cancels(stream: bool) -> None:
    backend = FakeBackend(REPLY, stops_at=3)
    async with application(served(backend)) as app:
        call = Call(app, "/v1/chat/completions", chat(stream))
        running = asyncio.create_task(call.run())
        await backend.stuck.wait()
        call.leave()
        await running
        assert backend.running == 0
        assert backend.produced == 3


async def test_leaving_cancels_every_choice() -> None:
    backend = FakeBackend(REPLY, stops_at=2)
    async with application(served(backend)) as app:
        call = Call(app, "/v1/chat/completions", chat(True, n=3))
        running = asyncio.create_task(call.run())
        await backend.stuck.wait()
        call.leave()
        await running
        assert len(backend.asked) == 3
        assert backend.running == 0


@either
async def test_leaving_the_queue_gives_the_place_up(stream: bool) -> None:
    backend = FakeBackend(REPLY, stops_at=0)
    settings = Settings(load=LoadLimits(running=1, waiting=1))
    async with application(served(backend), settings=settings) as app:
        first = Call(app, "/v1/chat/completions", chat(stream))
        running = asyncio.create_task(first.run())
        await backend.stuck.wait()
        second = Call(app, "/v1/chat/completions", chat(stream))
        waiting = asyncio.create_task(second.run())
        await until(lambda: app.state.gateway.states["demo"].admission.waiting == 1)
        second.leave()
        await waiting
        assert app.state.gateway.states["demo"].admission.waiting == 0
        backend.go.set()
        await running
    assert len(backend.asked) == 1


async def test_a_client_that_left_is_counted_and_its_slot_is_free() -> None:
    backend = FakeBackend(REPLY, stops_at=2)
    async with application(served(backend)) as app:
        call = Call(app, "/v1/chat/completions", chat(True))
        running = asyncio.create_task(call.run())
        await backend.stuck.wait()
        call.leave()
        await running
        gateway = app.state.gateway
        assert gateway.busy == 0
        metrics = gateway.metrics.exposition().decode()
    assert 'enginix_cancelled_requests_total{model="demo"} 1.0' in metrics
    assert 'enginix_running_requests{model="demo"} 0.0' in metrics
    assert 'status="499"' in metrics


async def test_a_reader_that_stops_stops_the_generation() -> None:
    backend = FakeBackend(ids("word " * 200))
    async with application(served(backend)) as app:
        call = Call(app, "/v1/chat/completions", chat(True))
        call.stop_reading()
        running = asyncio.create_task(call.run())
        for _ in range(2000):
            await asyncio.sleep(0)
        assert backend.produced <= 2
        call.leave()
        await running
        assert backend.running == 0


async def test_a_reader_that_stops_stops_all_choices() -> None:
    backend = FakeBackend(ids("word " * 200))
    async with application(served(backend)) as app:
        call = Call(app, "/v1/chat/completions", chat(True, n=2))
        call.stop_reading()
        running = asyncio.create_task(call.run())
        for _ in range(2000):
            await asyncio.sleep(0)
        assert backend.produced <= 8
        call.leave()
        await running
        assert backend.running == 0


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110, a condition of the code under test
            await asyncio.sleep(0)
