"""Bytes on a socket may not be HTTP, and may not end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fakes.backend import FakeBackend
from gateway.harness import ids, served, server, user

PATH = "/v1/chat/completions"

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(backend: FakeBackend) -> AsyncIterator[Connection]:
    async with server(served(backend)) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        async with asyncio.timeout(20):
            yield reader, writer
        writer.close()


def request(text: str = "Hi", **more: object) -> bytes:
    content = json.dumps({"messages": user(text), **more}).encode()
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n\r\n"
    return head.encode() + content


async def status(reader: asyncio.StreamReader) -> int:
    """Read one complete answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = head.partition("content-length: ")[2].split("\r\n")[0]
    await reader.readexactly(int(length))
    return int(head.split()[1])


@pytest.mark.parametrize(
    "garbage", [b"\x00\xff\xfe\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\r\n\r\n"]
)
async def test_garbage_gets_an_end(garbage: bytes) -> None:
    async with connected(FakeBackend(ids("Hello"))) as (reader, writer):
        writer.write(garbage)
        answer = await reader.read()
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    backend = FakeBackend(ids("One"), ids("Two"))
    async with connected(backend) as (reader, writer):
        writer.write(request() + request(temperature=9) + request())
        answers = [await status(reader) for _ in range(3)]
    assert answers == [200, 400, 200]


async def test_a_client_of_http_1_0_gets_a_stream_without_chunks() -> None:
    async with connected(FakeBackend(ids("One two"))) as (reader, writer):
        writer.write(request(stream=True).replace(b"HTTP/1.1", b"HTTP/1.0"))
        head, _, stream = (await reader.read()).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    lines = stream.decode().split("\n\n")
    assert all(line.startswith("data: ") for line in lines[:-1])
    assert lines[-2:] == ["data: [DONE]", ""]


async def test_a_client_of_http_1_0_is_not_told_to_continue() -> None:
    async with connected(FakeBackend(ids("One"))) as (reader, writer):
        head, _, body = request().replace(b"HTTP/1.1", b"HTTP/1.0").partition(b"\r\n\r\n")
        writer.write(head + b"\r\nexpect: 100-continue\r\n\r\n" + body)
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("stream", [True, False])
async def test_the_head_of_an_answer_leaves_with_its_first_bytes(stream: bool) -> None:
    async with connected(FakeBackend(ids("One two"))) as (reader, writer):
        writer.write(request(stream=stream))
        head, _, body = (await reader.read(1 << 16)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b'"role":"assistant"' in body


@pytest.mark.parametrize("stream", [True, False])
async def test_a_disconnect_cancels_the_running_request_despite_pipelined_ones(
    stream: bool,
) -> None:
    backend = FakeBackend(ids("One two three"), stops_at=2)
    async with connected(backend) as (_, writer):
        writer.write(request(stream=stream) + request() + request())
        await backend.stuck.wait()
        writer.transport.abort()
        await backend.idle.wait()
    assert len(backend.asked) == 1


async def test_garbage_after_a_request_does_not_affect_it() -> None:
    async with connected(FakeBackend(ids("One"))) as (reader, writer):
        writer.write(request())
        assert await status(reader) == 200
        writer.write(b"\x00" * 100)
        assert b"200" not in await reader.read()


@pytest.mark.parametrize("between", [b"", request()])
async def test_garbage_amid_a_stream_ends_it_without_another_answer(between: bytes) -> None:
    backend = FakeBackend(ids("One two three"), stops_at=2)
    async with connected(backend) as (reader, writer):
        writer.write(request(stream=True) + between)
        await reader.readuntil(b"data: ")
        writer.write(b"\x00" * 100)
        rest = await reader.read()
        await backend.idle.wait()
    assert b"HTTP/1.1" not in rest


async def test_an_incomplete_body_causes_no_generation() -> None:
    backend = FakeBackend(ids("One"))
    async with connected(backend) as (reader, writer):
        writer.write(request()[:-5])
        writer.write_eof()
        await reader.read()
    assert backend.asked == []


async def test_ten_megabytes_are_read_and_refused_as_too_large() -> None:
    async with connected(FakeBackend(ids("One"))) as (reader, writer):
        writer.write(request("word " * 2_000_000))
        assert await status(reader) == 400


async def test_headers_without_end_are_not_gathered() -> None:
    async with connected(FakeBackend(ids("One"))) as (reader, writer):
        writer.write(f"POST {PATH} HTTP/1.1\r\nhost: x\r\n".encode())
        writer.write(b"".join(b"x-more-%d: %b\r\n" % (n, b"y" * 8000) for n in range(9)))
        assert (await reader.read()).startswith(b"HTTP/1.1 400")


async def test_large_heads_within_bounds_are_taken() -> None:
    async with connected(FakeBackend(ids("One"))) as (reader, writer):
        head, _, content = request().partition(b"\r\n\r\n")
        writer.write(head + b"\r\nx-more: " + b"y" * 50_000 + b"\r\n\r\n" + content)
        assert await status(reader) == 200


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_is_whole_where_the_connection_closes_after_it(stream: bool) -> None:
    async with connected(FakeBackend(ids("Good morning"))) as (reader, writer):
        head, _, body = request(stream=stream).partition(b"\r\n\r\n")
        writer.write(head + b"\r\nconnection: close\r\n\r\n" + body)
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"finish_reason":"stop"' in answer
    assert answer.endswith(b"0\r\n\r\n" if stream else b"}")
    assert answer.count(b"[DONE]") == stream


async def test_a_client_that_leaves_a_long_prompt_while_it_waits_cancels_its_request() -> None:
    backend = FakeBackend(ids("Hello"), stops_at=0)
    async with server(served(backend, context=1 << 20)) as client:
        _, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        # More than the server reads ahead, which stops it from reading.
        writer.write(request("a " * 150_000, stream=True))
        async with asyncio.timeout(20):
            await backend.stuck.wait()
            writer.close()
            await backend.idle.wait()
    assert backend.running == 0


async def test_a_client_that_does_not_read_stops_its_generation_and_misses_nothing() -> None:
    reply = ids("word " * 20_000)
    backend = FakeBackend(reply, together=16)
    async with server(served(backend, context=1 << 20)) as client:
        # A reader that stops at 64 KB of its own: the rest waits in the kernel, then in the server.
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        writer.write(request(stream=True, max_tokens=len(reply)))
        produced = -1
        while produced != backend.produced or not produced:
            produced = backend.produced
            for _ in range(100):
                await asyncio.sleep(0)
        assert backend.produced < len(reply)
        answer = bytearray()
        async with asyncio.timeout(60):
            while not answer.endswith(b"0\r\n\r\n"):
                answer += await reader.read(1 << 20)
        writer.close()
    assert answer.count(b'"delta":{"content":"') == len(reply)
    assert answer.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
