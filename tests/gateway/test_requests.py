"""Operators see what waits and runs, and stop it; the client of a stopped request learns why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fakes.backend import FakeBackend
from gateway.harness import events, ids, served, server, user

from enginix.gateway.settings import LoadLimits, Settings

CHAT = "/v1/chat/completions"
SECRET = "the prompt that nobody else may read"
ASKED: dict[str, Any] = {"model": "demo", "messages": user(SECRET)}
BODIES = {
    CHAT: ASKED,
    "/v1/completions": {"model": "demo", "prompt": SECRET},
    "/v1/responses": {"model": "demo", "input": SECRET},
    "/v1/messages": {"model": "demo", "messages": user(SECRET), "max_tokens": 99},
}


@dataclass
class Place:
    backend: FakeBackend
    client: httpx.AsyncClient

    async def running(self) -> list[dict[str, Any]]:
        found = (await self.client.get("/v1/requests")).json()["data"]
        assert isinstance(found, list)
        return found

    async def cancel(self, request_id: str) -> httpx.Response:
        path = f"/v1/requests/{request_id}/cancel"
        return await self.client.post(path, json={})


@asynccontextmanager
async def stuck_model(**limits: int) -> AsyncIterator[Place]:
    """It says nothing after its third token."""
    backend = FakeBackend(ids("one two three four five six seven"), stops_at=3)
    settings = Settings(load=LoadLimits(**limits))
    async with server(served(backend), settings=settings) as client:
        yield Place(backend, client)
        backend.go.set()


async def test_a_running_request_is_listed_without_its_prompt() -> None:
    async with stuck_model() as place:
        headers = {"X-Request-Id": "mine"}
        asking = asyncio.create_task(place.client.post(CHAT, json=ASKED, headers=headers))
        await place.backend.stuck.wait()
        listed = await place.client.get("/v1/requests")
        (row,) = listed.json()["data"]
        place.backend.go.set()
        await asking
        assert await place.running() == []
    assert (row["id"], row["model"], row["route"]) == ("mine", "demo", CHAT)
    assert (row["state"], row["completion_tokens"], row["client"]) == ("running", 3, "127.0.0.1")
    assert row["prompt_tokens"] > 5
    assert 0 <= row["age_seconds"] < 10
    assert SECRET not in listed.text


@pytest.mark.parametrize("path", BODIES)
async def test_a_stopped_answer_is_an_error_that_is_not_tried_again(path: str) -> None:
    async with stuck_model() as place:
        asking = asyncio.create_task(place.client.post(path, json=BODIES[path]))
        await place.backend.stuck.wait()
        (row,) = await place.running()
        stopped = await place.cancel(row["id"])
        answer = await asking
        await place.backend.idle.wait()
    assert stopped.json() == {"id": row["id"], "object": "request", "cancelled": 1}
    assert answer.status_code == 410
    assert "an operator of this server stopped the request" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", BODIES)
async def test_a_stopped_stream_ends_with_an_error(path: str) -> None:
    async with stuck_model() as place:
        body = {**BODIES[path], "stream": True}
        async with place.client.stream("POST", path, json=body) as stream:
            await place.backend.stuck.wait()
            (row,) = await place.running()
            await place.cancel(row["id"])
            text = (await stream.aread()).decode()
        await place.backend.idle.wait()
    last = events(text)[-1]
    assert "an operator of this server stopped the request" in str(last)


async def test_a_request_in_the_queue_can_be_stopped_too() -> None:
    async with stuck_model(running=1, waiting=5) as place:
        first = asyncio.create_task(place.client.post(CHAT, json=ASKED))
        await place.backend.stuck.wait()
        headers = {"X-Request-Id": "a/second one?".replace(" ", "_")}
        second = asyncio.create_task(place.client.post(CHAT, json=ASKED, headers=headers))
        while len(rows := await place.running()) < 2:
            pass
        assert [row["state"] for row in rows] == ["running", "waiting"]
        await place.cancel("a%2Fsecond_one%3F")
        assert (await second).status_code == 410
        place.backend.go.set()
        assert (await first).status_code == 200
        status = (await place.client.get("/v1/status")).json()["models"][0]
    assert (status["running"], status["waiting"]) == (0, 0)


async def test_stopping_twice_is_no_different_from_once() -> None:
    async with stuck_model() as place:
        asking = asyncio.create_task(place.client.post(CHAT, json=ASKED))
        await place.backend.stuck.wait()
        (row,) = await place.running()
        await asyncio.gather(place.cancel(row["id"]), place.cancel(row["id"]))
        assert (await asking).status_code == 410


async def test_a_request_that_is_not_there_is_a_404_that_says_where_to_look() -> None:
    async with stuck_model() as place:
        answer = await place.cancel("none")
    assert answer.status_code == 404
    assert "GET /v1/requests" in answer.json()["error"]["message"]


async def test_stopping_is_protected_like_unloading() -> None:
    settings = Settings(api_keys=frozenset({"sesame"}))
    async with server(served(FakeBackend([])), settings=settings) as client:
        path, key = "/v1/requests/x/cancel", {"Authorization": "Bearer sesame"}
        keyless = await client.post(path, json={})
        unread = await client.get("/v1/requests")
        foreign = await client.post(path, json={}, headers={**key, "Origin": "http://evil.example"})
        form = await client.post(path, content="a=b", headers=key)
        own = await client.post(path, json={}, headers=key)
    found = [one.status_code for one in (keyless, unread, foreign, form, own)]
    assert found == [401, 401, 403, 415, 404]


async def test_the_status_tells_how_fast_a_model_is() -> None:
    async with stuck_model() as place:
        asking = asyncio.create_task(place.client.post(CHAT, json=ASKED))
        await place.backend.stuck.wait()
        before = (await place.client.get("/v1/status")).json()["models"][0]
        place.backend.go.set()
        await asking
        after = (await place.client.get("/v1/status")).json()["models"][0]
    assert (before["running"], after["running"]) == (1, 0)
    assert 0 < before["first_token_seconds"] == after["first_token_seconds"] < 5
    assert after["tokens_per_second"] >= 0
    assert (after["context"], after["healthy"]) == (512, True)
