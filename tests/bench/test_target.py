"""Servers that answer well, badly or not at all, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from enginix.bench.target import Target
from enginix.errors import UsageError

GOOD = b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n'
Reply = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(*replies: bytes, keeps: bool = True) -> AsyncIterator[tuple[Target, list[int]]]:
    """Answers the n-th request with the n-th reply; the list has an item for each connection."""
    waiting = list(replies)
    connections: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(0)
        while waiting:
            try:
                await reader.readuntil(b"{}")
            except asyncio.IncompleteReadError:
                break
            connections[-1] += 1
            writer.write(waiting.pop(0))
            if not keeps:
                break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    target = Target(f"http://127.0.0.1:{port}", seconds=20)
    try:
        yield target, connections
    finally:
        await target.close()
        server.close()
        await server.wait_closed()


def reply(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def chunked(*bodies: bytes) -> bytes:
    parts = b"".join(f"{len(body):x}\r\n".encode() + body + b"\r\n" for body in (*bodies, b""))
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + parts


async def failure(*replies: bytes, keeps: bool = True) -> str | None:
    async with serving(*replies, keeps=keeps) as (target, _):
        return (await target.ask(target.message("/chat/completions", {}))).failure


async def test_one_connection_carries_one_answer_after_the_other() -> None:
    async with serving(reply(GOOD), chunked(GOOD[:9], GOOD[9:]), reply(GOOD)) as (target, seen):
        message = target.message("/chat/completions", {})
        answers = [await target.ask(message) for _ in range(3)]

    assert [answer.failure for answer in answers] == [None, None, None]
    assert seen == [3]
    assert all(answer.sent < answer.arrivals[0] <= answer.ended for answer in answers)


async def test_an_idle_connection_that_was_closed_is_not_a_failure() -> None:
    async with serving(*[reply(GOOD)] * 3, keeps=False) as (target, seen):
        message = target.message("/chat/completions", {})
        answers = [await target.ask(message) for _ in range(3)]

    assert [answer.failure for answer in answers] == [None, None, None]
    assert seen == [1, 1, 1]


async def test_a_body_without_a_length_ends_with_its_connection() -> None:
    assert await failure(b"HTTP/1.1 200 OK\r\n\r\n" + GOOD, keeps=False) is None


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"error": {"message": "no such model"}}', "HTTP 404: no such model"),
        (b'{"error": "gone"}', "HTTP 404: gone"),
        (b"<h1>Not here</h1>", "HTTP 404: <h1>Not here</h1>"),
        (b"", "HTTP 404: no reason given"),
    ],
)
async def test_a_refusal_keeps_the_servers_message(body: bytes, why: str) -> None:
    assert await failure(reply(body, "404 Not Found")) == why


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"", "the server closed the connection before its answer"),
        (chunked(GOOD)[:-7], "the server closed the connection within its answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the server does not speak HTTP/1.1"),
    ],
)
async def test_a_broken_connection_is_a_failure_and_no_error(sent: bytes, why: str) -> None:
    found = await failure(sent, keeps=False)

    assert found
    assert found.startswith(why)


async def test_after_a_failure_the_next_request_has_a_new_connection() -> None:
    async with serving(chunked(GOOD)[:-7], reply(GOOD), keeps=False) as (target, seen):
        message = target.message("/chat/completions", {})
        answers = [await target.ask(message) for _ in range(2)]

    assert [bool(answer.failure) for answer in answers] == [True, False]
    assert seen == [1, 1]


async def test_a_port_without_a_listener_is_a_failure() -> None:
    async with serving() as (target, _):
        pass

    answer = await target.ask(target.message("/chat/completions", {}))

    assert answer.failure
    assert answer.failure.startswith("no connection: ")


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("http://h:9000", "http://h:9000/v1"),
        ("http://h:9000/v1/", "http://h:9000/v1"),
        ("https://h/openai/v1", "https://h/openai/v1"),
        ("http://user@[::1]:80", "http://[::1]:80/v1"),
    ],
)
def test_an_address_may_name_the_version_or_not(url: str, seen: str) -> None:
    assert Target(url).url == seen


@pytest.mark.parametrize(
    "url", ["localhost", "h:x", "h:99999", "ftp://h", "http://", "http://h:99999"]
)
def test_an_invalid_address_error_shows_the_expected_form(url: str) -> None:
    with pytest.raises(UsageError, match="expected http://HOST:PORT"):
        Target(url)


async def test_a_name_that_is_none_is_a_failure() -> None:
    answer = await Target("http://a..b").ask(b"")

    assert (answer.failure or "").startswith("no connection: ")


def test_an_invalid_key_is_refused() -> None:
    with pytest.raises(UsageError, match="is it complete"):
        Target("http://h", "one\nother")


def test_the_key_is_shown_to_the_server() -> None:
    assert b"\r\nAuthorization: Bearer s3cret\r\n" in Target("http://h", "s3cret").message("/x", {})


def test_an_address_needs_no_scheme() -> None:
    assert Target("127.0.0.1:9400").url == "http://127.0.0.1:9400/v1"
    assert Target("h:9000").url == "http://h:9000/v1"
    assert Target("localhost:9400/v1").url == "http://localhost:9400/v1"
