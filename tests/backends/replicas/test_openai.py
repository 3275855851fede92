"""Several servers of the OpenAI API as one backend."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from fakes.chat_server import CHAT, ChatServer, chat_server, completion, texts
from fakes.token_triton import free_ports

from enginix.backends.replicas.openai import ReplicatedOpenAI
from enginix.errors import BackendUnavailable

EVENTS = completion(*texts("a", "b"))
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi " * 200}]}).encode()


class Two:
    def __init__(self, backend: ReplicatedOpenAI, servers: list[ChatServer]) -> None:
        self.backend, self.servers = backend, servers

    async def ask(self, body: bytes = BODY) -> tuple[int, bytes]:
        async with self.backend.ask(CHAT, body, streams=True) as response:
            return response.status, await response.read_error()

    def asked(self) -> list[int]:
        return [len(server.asked_at(CHAT)) for server in self.servers]


@asynccontextmanager
async def two(models: str = "m", *, away: int = 0) -> AsyncIterator[Two]:
    async with AsyncExitStack() as stack:
        started = [await stack.enter_async_context(chat_server(EVENTS)) for _ in range(2 - away)]
        for server, _ in started:
            names = {"data": [{"id": models}]}
            server.routes["/v1/models"] = lambda _, names=names: json.dumps(names).encode()
            server.routes["/v1/completions"] = lambda _: b'{"choices": []}'
        urls = [url for _, url in started] + [
            f"http://127.0.0.1:{port}" for port in free_ports(away)
        ]
        backend = ReplicatedOpenAI("both", urls, "m")
        stack.push_async_callback(backend.close)
        yield Two(backend, [server for server, _ in started])


async def test_different_conversations_are_spread() -> None:
    async with two() as both:
        for number in range(4):
            assert await both.ask(b'{"n": %d}' % number) == (200, b"".join(EVENTS))
        assert both.asked() == [2, 2]


async def test_a_conversation_goes_where_its_last_turn_was() -> None:
    async with two() as both:
        for turn in range(4):
            await both.ask(BODY + b" " * turn)
        assert sorted(both.asked()) == [0, 4]


async def test_one_that_is_away_costs_no_request() -> None:
    async with two(away=1) as both:
        assert [(await both.ask(b'{"n": %d}' % n))[0] for n in range(4)] == [200] * 4
        assert both.backend.replicas[1].out


@pytest.mark.parametrize("status", [429, 503])
async def test_one_that_is_full_or_not_ready_is_passed_over(status: int) -> None:
    async with two() as both:
        both.servers[0].status = status
        both.servers[0].routes[CHAT] = lambda _: b'{"error": {"message": "later"}}'
        assert [(await both.ask(b'{"n": %d}' % n))[0] for n in range(4)] == [200] * 4


async def test_a_refusal_of_all_is_passed_on() -> None:
    async with two() as both:
        for server in both.servers:
            server.status = 429
            server.routes[CHAT] = lambda _: b'{"error": {"message": "later"}}'
        assert await both.ask() == (429, b'{"error": {"message": "later"}}')


async def test_one_that_breaks_off_before_its_first_byte_is_replaced() -> None:
    async with two() as both:
        both.servers[0].routes[CHAT] = lambda _: []
        both.servers[0].breaks_off = True
        assert [(await both.ask(b'{"n": %d}' % n))[1] for n in range(4)] == [b"".join(EVENTS)] * 4


async def test_one_that_breaks_off_later_fails_its_stream() -> None:
    async with two() as both:
        for server in both.servers:
            server.breaks_off = True
        with pytest.raises(BackendUnavailable):
            await both.ask()
        assert sum(both.asked()) == 1


async def test_one_that_serves_another_model_gets_nothing() -> None:
    async with two("other") as both:
        with pytest.raises(BackendUnavailable, match="serves other, expected m"):
            await both.ask()
        assert both.asked() == [0, 0]


async def test_a_request_that_is_left_is_left_there_too() -> None:
    async with two() as both:
        for server in both.servers:
            server.stays_after = 1
        async with both.backend.ask(CHAT, BODY, streams=True):
            pass
        asked = next(server for server in both.servers if server.asked_at(CHAT))
        await asyncio.wait_for(asked.left.wait(), 10)
        assert sum(replica.running for replica in both.backend.replicas) == 0
