"""A gateway in front of two servers of one model, of which one after the other is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from serve.servers.test_another_server import CHAT, MADE_UP, checkpoint, here, installed
from serve.servers.test_another_server import home as home  # a fixture

from enginix.serve.gateway import gateway_url
from enginix.serve.model_entry import ModelEntry
from enginix.serve.profile import GatewayEntry, Profile
from enginix.serve.servers import SERVERS
from enginix.serve.up import running_profile
from tests.conftest import free_ports
from tests.waiting import until

SECONDS = 60


@dataclass
class Place:
    client: httpx.AsyncClient

    async def status(self) -> dict[str, Any]:
        """Once the supervisor answers in time."""
        async with asyncio.timeout(SECONDS):
            while True:
                (model,) = (await self.client.get("/v1/status")).json()["models"]
                if "pid" in model:
                    return dict(model)

    async def until(self, seen: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """Its replicas once they are as expected; the model is loaded all the time."""
        async with asyncio.timeout(SECONDS):
            while not seen((model := await self.status())["replicas"]):
                assert model["status"] == "loaded"
        return list(model["replicas"])

    @asynccontextmanager
    async def under_load(self) -> AsyncIterator[list[str]]:
        """Four streams at any time while the block runs; the end of each, or what went wrong."""
        ends: list[str] = []
        over = asyncio.Event()
        async with asyncio.TaskGroup() as clients:
            for _ in range(4):
                clients.create_task(self._ask(ends, over))
            try:
                yield ends
            finally:
                over.set()

    async def _ask(self, ends: list[str], over: asyncio.Event) -> None:
        body = {"model": "first", "stream": True, "max_tokens": 30, **CHAT}
        while not over.is_set():
            answer = await self.client.post("/v1/chat/completions", json=body)
            lines = [line for line in answer.text.splitlines() if line]
            ends.append(lines[-1] if answer.status_code == 200 else answer.text)


@pytest.fixture
async def two(home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.setitem(SERVERS, MADE_UP.name, MADE_UP)
    installed(home)
    port, http = free_ports(2)
    path = str(checkpoint(home, "one"))
    entry = ModelEntry("first", engine="madeup", path=path, http_port=http, replicas=2)
    profile = Profile("two", "Two servers", [entry], GatewayEntry(port))
    async with (
        running_profile(profile, here(home), lambda *_: None),
        httpx.AsyncClient(base_url=gateway_url(profile.gateway), timeout=SECONDS) as client,
    ):
        yield Place(client)


async def test_a_restart_under_load_fails_no_request(two: Place) -> None:
    before = (await two.status())["replicas"]
    async with two.under_load() as ends:
        await until(lambda: len(ends) > 0)
        restarted = await two.client.post("/v1/models/restart", json={"model": "first"})
    assert restarted.status_code == 200, restarted.text
    assert set(ends) == {"data: [DONE]"}
    after = (await two.status())["replicas"]
    assert [one["status"] for one in after] == ["loaded", "loaded"]
    assert not {one["pid"] for one in before} & {one["pid"] for one in after}


async def test_a_wedged_server_is_replaced_although_tokens_come_out_of_the_other(
    two: Place,
) -> None:
    before = (await two.status())["replicas"]
    async with httpx.AsyncClient(base_url=before[1]["address"]) as client:
        await client.post("/wedge/silent")
    async with two.under_load() as ends:
        after = await two.until(
            lambda replicas: replicas[1]["restarts"] == 1 and replicas[1]["status"] == "loaded"
        )
    assert set(ends) == {"data: [DONE]"}
    assert "is wedged" in after[1]["last_error"]
    assert (after[0]["pid"], after[0]["restarts"]) == (before[0]["pid"], 0)
