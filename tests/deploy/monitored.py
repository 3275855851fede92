"""A gateway that has every metric: a supervisor, replicas, keys, a server's page, and errors."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import httpx
from fakes.backend import FakeBackend
from fakes.chat_server import chat_server, completion, texts
from gateway.harness import ids, served, server
from gateway.supervised import stand_in_server

from enginix.backends.openai.server import OpenAIBackend
from enginix.backends.replicas.openai import ReplicatedOpenAI
from enginix.errors import GenerationFailed
from enginix.gateway.keys.key import digest_of
from enginix.gateway.models.registry import PassthroughModel
from enginix.gateway.settings import Settings
from enginix.serve.control import control_socket
from enginix.serve.model_entry import ModelEntry
from enginix.serve.replicas import Replica, ReplicaGroup
from enginix.serve.scheduler import ManagedModel, ModelScheduler
from tests.gateway.models.pages import TENSORRT_LLM_PAGE

PROGRAM = Path(__file__).parent.parent / "fakes" / "wedged_server.py"
HEADERS = {"Authorization": "Bearer sk-alice"}
USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 2,
    "total_tokens": 13,
    "prompt_tokens_details": {"cached_tokens": 8},
}


@asynccontextmanager
async def monitored_gateway(directory: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Models: tokens (of a Triton with a page), broken (fails after a token), pair (two servers)
    and started (supervised). The key alice has used all of them.
    """
    keys = directory / "keys.toml"
    keys.write_text(f'[keys.alice]\nhash = "sha256:{digest_of("sk-alice").hex()}"\n')
    keys.chmod(0o600)
    settings = Settings(key_file=keys, supervisor=directory / "control", home=directory)
    async with AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(_replica()) for _ in range(2)]
        page = await stack.enter_async_context(_page(lambda: TENSORRT_LLM_PAGE))
        drafting = await stack.enter_async_context(_page(_drafting()))
        url = await stack.enter_async_context(_supervised(directory))
        broken = FakeBackend(ids("Hello"), fails_at=1, error=GenerationFailed("it broke"))
        yield await stack.enter_async_context(
            server(
                replace(served(FakeBackend(ids("Hello")), name="tokens"), metrics=page),
                served(broken, name="broken", aliases=()),
                PassthroughModel("pair", ReplicatedOpenAI("both", urls, "m"), "vllm"),
                PassthroughModel(
                    "started", OpenAIBackend("stand-in", url, "m"), "vllm", metrics=drafting
                ),
                settings=settings,
            )
        )


async def ask_all(client: httpx.AsyncClient) -> None:
    """Ask every model, and one that is not there, for a stream and for a whole answer."""
    for model in ("tokens", "broken", "pair", "started", "nowhere"):
        for stream in (True, False):
            messages = [{"role": "user", "content": "Hi"}]
            body = {"model": model, "messages": messages, "stream": stream, "max_tokens": 9}
            await client.post("/v1/chat/completions", json=body, headers=HEADERS)


@asynccontextmanager
async def _replica() -> AsyncIterator[str]:
    async with chat_server(completion(*texts("Hel", "lo"), usage=USAGE)) as (stand_in, url):
        whole = {"index": 0, "finish_reason": "stop", "message": {"content": "Hello"}}
        document = json.dumps({"id": "x", "choices": [whole], "usage": USAGE}).encode()
        events = stand_in.routes["/v1/chat/completions"]({})
        stand_in.routes |= {
            "/v1/chat/completions": lambda asked: events if asked.get("stream") else document,
            "/v1/completions": lambda _: b'{"choices": []}',
            "/v1/models": lambda _: json.dumps({"data": [{"id": "m"}]}).encode(),
        }
        yield url


@asynccontextmanager
async def _page(text: Callable[[], str]) -> AsyncIterator[str]:
    async with chat_server() as (stand_in, url):
        stand_in.routes["/metrics"] = lambda _: text().encode()
        yield f"{url}/metrics"


def _drafting() -> Callable[[], str]:
    """Of a server that drafts tokens between one look at its page and the next."""
    times = count(1)

    def text() -> str:
        drafted = 10 * next(times)
        return (
            f'vllm:spec_decode_num_draft_tokens_total{{engine="0"}} {drafted}\n'
            f'vllm:spec_decode_num_accepted_tokens_total{{engine="0"}} {drafted // 2}\n'
        )

    return text


@asynccontextmanager
async def _supervised(directory: Path) -> AsyncIterator[str]:
    restarting, backend, url = stand_in_server(directory, "started", deadline=60)
    group = ReplicaGroup("started", [Replica(url, restarting)])
    row = {"name": "started"}
    scheduler = ModelScheduler([ManagedModel(ModelEntry("started", engine="vllm"), group, row)])
    try:
        async with control_socket(directory / "control", scheduler):
            await restarting.load()
            yield url
    finally:
        await restarting.unload()
        await backend.close()
