"""`priority` in a body: who is answered first, what a key may ask for, what servers are told."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.backend import FakeBackend
from fakes.chat_server import CHAT, chat_server, completion, texts
from gateway.harness import events, ids, served, server, user
from gateway.test_named_keys import place_with

from enginix.backends.openai.server import OpenAIBackend
from enginix.gateway.models.registry import PassthroughModel
from enginix.gateway.settings import LoadLimits, Settings

ASKED = {"model": "demo", "messages": user("Hi")}
REPLY = ids("One two three four")
ONE_AT_A_TIME = LoadLimits(running=1)


async def waiting(client: httpx.AsyncClient, count: int, **headers: str) -> None:
    """Return once that many requests wait."""
    async with asyncio.timeout(20):
        while True:
            rows = (await client.get("/v1/requests", headers=headers)).json()["data"]
            if sum(row["state"] == "waiting" for row in rows) == count:
                return
            await asyncio.sleep(0.005)


async def test_who_has_the_lower_priority_is_answered_first_in_every_dialect() -> None:
    backend = FakeBackend(REPLY, stops_at=1)
    done: list[str] = []

    async def ask(name: str, path: str = CHAT, **body: Any) -> None:
        answer = await client.post(path, json={**ASKED, **body}, headers={"X-Request-Id": name})
        assert answer.status_code == 200, answer.text
        done.append(name)

    async with server(served(backend), settings=Settings(load=ONE_AT_A_TIME)) as client:
        tasks = [asyncio.create_task(ask("first"))]
        await backend.stuck.wait()
        requests = [
            ("usual", CHAT, {}),
            ("last", "/v1/messages", {"priority": 7, "max_tokens": 9}),
            ("later", "/v1/completions", {"priority": 3.0, "prompt": "Hi"}),
            ("sooner", "/v1/responses", {"priority": -1, "input": "Hi"}),
            (
                "soonest",
                "/api/v1/inference/stream",
                {"priority": -2, "modelId": "demo", "prompt": "Hi"},
            ),
        ]
        for place, (name, path, body) in enumerate(requests, 1):
            tasks.append(asyncio.create_task(ask(name, path, **body)))
            await waiting(client, place)
        backend.go.set()
        await asyncio.gather(*tasks)
    assert done == ["first", "soonest", "sooner", "usual", "later", "last"]


@pytest.mark.parametrize("priority", ["high", 1.5, True, 2**31, -(2**40), 1e30, [], {"a": 1}])
async def test_a_priority_that_is_none_is_refused_by_name(priority: Any) -> None:
    async with server(served(FakeBackend(REPLY))) as client:
        answer = await client.post(CHAT, json={**ASKED, "priority": priority})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "priority"


async def test_a_key_has_its_priority_and_may_only_ask_for_a_later_one(tmp_path: Path) -> None:
    async with place_with(tmp_path, alice="priority = 2", bob="") as place:
        found = {
            (name, priority): (await place.ask(name, priority=priority)).status_code
            for name in ("alice", "bob")
            for priority in (None, -1, 0, 1, 2, 3)
        }
        refused = await place.ask("alice", priority=1)
    accepted = {pair for pair, status in found.items() if status == 200}
    assert set(found.values()) == {200, 400}
    assert accepted == {
        *(("alice", priority) for priority in (None, 2, 3)),
        *(("bob", priority) for priority in (None, 0, 1, 2, 3)),
    }
    assert "requests of key 'alice' may have 2 or more, which is later, got 1" in refused.text


async def test_a_stream_that_waits_in_line_says_how_long_the_line_is() -> None:
    backend = FakeBackend(REPLY, stops_at=1)
    limits = LoadLimits(running=1, keep_awake=0.02)
    async with server(served(backend), settings=Settings(load=limits)) as client:
        first = asyncio.create_task(client.post(CHAT, json=ASKED))
        await backend.stuck.wait()
        second = asyncio.create_task(client.post(CHAT, json=ASKED))
        await waiting(client, 1)
        async with client.stream("POST", CHAT, json={**ASKED, "stream": True}) as answer:
            lines = answer.aiter_lines()
            told = await anext(lines)
            backend.go.set()
            rest = [line async for line in lines]
        await asyncio.gather(first, second)
    assert told == ": waiting in line, about 1 requests before this one"
    assert events("\n".join(rest))[-1] == "[DONE]"


async def test_an_error_after_the_wait_is_the_streams_last_event() -> None:
    backend = FakeBackend(REPLY, stops_at=1)
    limits = LoadLimits(running=1, keep_awake=0.02)
    async with server(served(backend), settings=Settings(load=limits)) as client:
        first = asyncio.create_task(client.post(CHAT, json=ASKED))
        await backend.stuck.wait()
        async with client.stream(
            "POST", CHAT, json={**ASKED, "stream": True}, headers={"X-Request-Id": "stopped"}
        ) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            await client.post("/v1/requests/stopped/cancel", json={})
            rest = [line async for line in lines]
        backend.go.set()
        await first
    assert events("\n".join(rest))[-1]["error"]["code"] == "request_stopped"


@pytest.mark.parametrize("takes_priority", [True, False])
@pytest.mark.parametrize("tools", [{}, {"stop": ["x"]}])
async def test_only_a_server_that_schedules_by_priority_is_told_of_it(
    takes_priority: bool, tools: dict[str, Any]
) -> None:
    async with chat_server(completion(*texts("Hi"))) as (stand_in, url):
        model = PassthroughModel(
            "demo", OpenAIBackend("vllm", url, "theirs"), "vllm", takes_priority=takes_priority
        )
        async with server(model) as client:
            body = {**ASKED, "priority": 3, "stream": True, **tools}
            await client.post(CHAT, json=body)
    (asked,) = stand_in.asked_at(CHAT)
    assert asked.get("priority") == (3 if takes_priority else None)
