"""A client that offers to upgrade the protocol is answered in HTTP/1."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fakes.backend import FakeBackend
from gateway.harness import ids, served, server, user

# What the HttpClient of every JDK sends until it knows better.
H2C = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
UPGRADES = {
    "h2c": H2C,
    "h2c, HTTP/2.0": "Connection: keep-alive, Upgrade\r\nUpgrade: h2c, HTTP/2.0\r\n",
    "TLS/1.0": "Upgrade: TLS/1.0\r\nConnection: upgrade\r\n",
    "websocket": "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
}
BODIES = {
    "/v1/chat/completions": {"messages": user("Hi")},
    "/v1/completions": {"prompt": "Hi"},
    "/v1/responses": {"input": "Hi"},
    "/v1/messages": {"model": "demo", "max_tokens": 3, "messages": user("Hi")},
    "/api/v1/inference/stream": {"modelId": "demo", "prompt": "Hi", "stream": False},
    "/tokenize": {"prompt": "Hi"},
}

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected() -> AsyncIterator[Connection]:
    async with server(served(FakeBackend(ids("Hello")))) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        async with asyncio.timeout(20):
            yield reader, writer
        writer.close()


def request(path: str, upgrade: str, *, chunked: bool = False, version: str = "1.1") -> bytes:
    content = json.dumps(BODIES[path]).encode()
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(content)}"
    head = f"POST {path} HTTP/{version}\r\n{upgrade}Host: localhost\r\n{framing}\r\n\r\n"
    if chunked:
        parts = [content[start : start + 7] for start in range(0, len(content), 7)]
        framed = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts]
        content = b"".join([*framed, b"0\r\n\r\n"])
    return head.encode() + content


async def answer(reader: asyncio.StreamReader) -> tuple[int, str]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = head.partition("content-length: ")[2].split("\r\n")[0]
    return int(head.split()[1]), (await reader.readexactly(int(length))).decode()


@pytest.mark.parametrize("upgrade", UPGRADES)
@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "length"])
@pytest.mark.parametrize("path", BODIES)
async def test_the_body_of_a_request_for_another_protocol_is_read(
    path: str, chunked: bool, upgrade: str
) -> None:
    async with connected() as (reader, writer):
        writer.write(request(path, UPGRADES[upgrade], chunked=chunked))
        status, text = await answer(reader)
    assert status == 200, text


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "length"])
async def test_the_upgrade_request_may_arrive_in_any_chunks(chunked: bool) -> None:
    sent = request("/v1/completions", H2C, chunked=chunked)
    async with connected() as (reader, writer):
        for size in (1, 50, len(sent) - 1):
            for start in range(0, len(sent), size):
                writer.write(sent[start : start + size])
                await writer.drain()
                await asyncio.sleep(0)
            status, text = await answer(reader)
            assert status == 200, text


async def test_later_requests_on_the_same_connection_are_read_too() -> None:
    path = "/v1/chat/completions"
    mixed = [
        request(path, H2C, chunked=True),
        request(path, ""),
        request(path, H2C),
        b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n" + H2C.encode() + b"\r\n",
        b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
        request(path, UPGRADES["websocket"], chunked=True),
    ]
    async with connected() as (reader, writer):
        writer.write(b"".join(mixed))
        statuses = [(await answer(reader))[0] for _ in mixed]
    assert statuses == [200, 200, 200, 200, 400, 200]


async def test_an_old_client_that_asks_for_it_is_answered_too() -> None:
    async with connected() as (reader, writer):
        writer.write(request("/v1/completions", H2C, version="1.0"))
        text = (await reader.read()).decode()
    assert text.startswith("HTTP/1.1 200")


async def test_a_broken_body_after_an_upgrade_is_a_400_and_closes() -> None:
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n{H2C}"
    async with connected() as (reader, writer):
        writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\nnonsense\r\n".encode())
        text = (await reader.read()).decode()
    assert text.startswith("HTTP/1.1 400")


async def test_conflicting_body_framing_after_an_upgrade_is_refused() -> None:
    both = "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n{H2C}{both}\r\n"
    async with connected() as (reader, writer):
        writer.write(f"{head}0\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        text = (await reader.read()).decode()
    assert text.startswith("HTTP/1.1 400")
    assert text.count("HTTP/1.1") == 1
