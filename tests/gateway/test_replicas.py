"""A model that several servers serve: what operators and scrapers see of each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import httpx
from fakes.chat_server import ChatServer, chat_server, completion, texts
from gateway.harness import server

from enginix.backends.replicas.openai import ReplicatedOpenAI
from enginix.gateway.api.status import status_of
from enginix.gateway.models.admission import Admission
from enginix.gateway.models.health import Liveness
from enginix.gateway.models.metrics import Metrics
from enginix.gateway.models.model_state import ModelState
from enginix.gateway.models.registry import PassthroughModel
from enginix.supervision import ServerStatus

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True}


@asynccontextmanager
async def gateway_of_two() -> AsyncIterator[tuple[httpx.AsyncClient, list[ChatServer], list[str]]]:
    async with AsyncExitStack() as stack:
        servers, urls = [], []
        for _ in range(2):
            started, url = await stack.enter_async_context(chat_server(completion(*texts("a"))))
            started.routes["/v1/models"] = lambda _: json.dumps({"data": [{"id": "m"}]}).encode()
            started.routes["/v1/completions"] = lambda _: b'{"choices": []}'
            servers.append(started)
            urls.append(url)
        model = PassthroughModel("m", ReplicatedOpenAI("both", urls, "m"), "vllm")
        yield await stack.enter_async_context(server(model)), servers, urls


async def test_the_status_has_a_row_for_each_replica() -> None:
    async with gateway_of_two() as (client, _, urls):
        model = (await client.get("/v1/status")).json()["models"][0]
    assert model["healthy"]
    assert model["replicas"] == [
        {"address": url, "in_rotation": True, "reason": None, "running": 0} for url in urls
    ]


async def test_metrics_show_a_replica_that_has_gone() -> None:
    async with gateway_of_two() as (client, servers, urls):
        await client.get("/health")
        servers[1].routes["/v1/completions"] = lambda _: b'{"error": {"message": "no"}}'
        out = f'enginix_replica_in_rotation{{model="m",replica="{urls[1]}"}} 0.0'
        async with asyncio.timeout(30):
            while out not in (await client.get("/metrics")).text:  # noqa: ASYNC110, a scraper polls
                await asyncio.sleep(0.05)
        text = (await client.get("/metrics")).text
        status = (await client.get("/v1/status")).json()["models"][0]
    assert f'enginix_replica_in_rotation{{model="m",replica="{urls[0]}"}} 1.0' in text
    assert status["healthy"]
    assert status["replicas"][1]["reason"] == f"the server at {urls[1]} gave no token: no"


async def test_requests_are_answered_while_one_of_them_is_away() -> None:
    async with gateway_of_two() as (client, servers, urls):
        servers[0].breaks_off = True
        servers[0].routes["/v1/chat/completions"] = lambda _: []
        answers = [await client.post("/v1/chat/completions", json=CHAT) for _ in range(4)]
        text = (await client.get("/metrics")).text
    assert [answer.status_code for answer in answers] == [200] * 4
    retried = f'enginix_replica_retried_requests_total{{model="m",replica="{urls[0]}"}}'
    assert f"{retried} 0.0" not in text
    assert retried in text
    assert len(servers[1].asked_at("/v1/chat/completions")) == 4


async def test_a_replica_that_is_back_generates_before_another_one_rests() -> None:
    answers = iter([b'{"error": {"message": "loading"}}'] * 2)
    async with chat_server(completion(*texts("a"))) as (started, url):
        started.routes["/v1/completions"] = lambda _: next(answers, b'{"choices": []}')
        backend = ReplicatedOpenAI("both", [url, "http://127.0.0.1:1"], "m")
        model = PassthroughModel("m", backend, "vllm")
        state = ModelState(model, Admission("m", 1, 1), Metrics(["m"]))
        first = backend.replicas[0]
        await state.rest([url])
        first.out = "it is being restarted"
        await state.rest([])
        assert (first.resting, first.out) == (False, None)
        await backend.close()


async def test_a_model_that_is_served_elsewhere_is_loaded_while_tokens_come_out_of_it() -> None:
    async with chat_server(completion(*texts("a"))) as (started, url):
        backend = ReplicatedOpenAI("both", [url, "http://127.0.0.1:1"], "m")
        state = ModelState(
            PassthroughModel("m", backend, "vllm"), Admission("m", 1, 1), Metrics(["m"])
        )
        elsewhere = ServerStatus("external", False, None, 1.0, None, 0, None, "")
        server = replace(elsewhere, replicas={url: elsewhere})
        found = []
        for answer in (b'{"choices": []}', b'{"error": {"message": "no"}}'):
            started.routes["/v1/completions"] = lambda _, answer=answer: answer
            for replica in backend.replicas:
                await replica.examine()
            state.liveness = Liveness(backend.probe)
            found.append((await status_of(state, server))["status"])
        rows = (await status_of(state, server))["replicas"]
        await backend.close()
    assert found == ["loaded", "error"]
    assert [row.get("status") for row in rows] == ["external", None]
