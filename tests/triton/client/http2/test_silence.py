"""Servers that are silent, send nonsense, or stop in the middle."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing

import pytest
from fakes.asking import SHORT, ask, drain, ids, take
from fakes.hostile_http2 import (
    DATA,
    SETTINGS,
    Peer,
    frame,
    hostile,
    response_headers,
    tokens,
)
from fakes.token_triton import token_triton

from enginix.errors import BackendTimedOut, BackendUnavailable
from enginix.runtimes.runtime import Runtime
from enginix.triton.client.client import Limits, TokenRequest, TritonClient

ENDLESS = TokenRequest([1], 1_000_000, request_id="delay_us=1000")

Connect = Callable[..., TritonClient]


async def test_a_server_without_a_handshake_is_disconnected(connect: Connect) -> None:
    async def mute(peer: Peer) -> None:
        await peer.gone()

    async with hostile(mute) as address:
        with pytest.raises(BackendUnavailable, match=r"no answer within 0\.1 s"):
            await ask(connect(address, connect=0.1))


@pytest.mark.parametrize(
    "words",
    [
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x01\x00\x02\x02\x50\x00\x00\x00",
        frame(DATA, 0, 0, b"HTTP/2, but not so"),
        frame(SETTINGS, 0, 0, b"odd"),
    ],
    ids=["http1", "ssh", "tls", "data", "settings"],
)
async def test_a_port_of_another_protocol_is_reported(connect: Connect, words: bytes) -> None:
    async def other(peer: Peer) -> None:
        peer.send(words)
        await peer.gone()

    async with hostile(other) as address:
        with pytest.raises(BackendUnavailable, match=r"does not speak HTTP/2.*gRPC port\?"):
            await ask(connect(address))


async def test_a_port_that_closes_at_once_is_unavailable(connect: Connect) -> None:
    async def closing(peer: Peer) -> None:
        pass

    async with hostile(closing) as address:
        with pytest.raises(BackendUnavailable, match="lost Triton at"):
            await ask(connect(address))


async def test_a_frozen_server_is_found_before_any_deadline(connect: Connect) -> None:
    async def freezing(peer: Peer) -> None:
        await peer.begin()
        stream = await peer.request()
        peer.send(response_headers(stream), frame(DATA, 0, stream, tokens(1)))
        await peer.gone()

    seen: list[int] = []
    async with hostile(freezing) as address:
        client = connect(address, silence=0.05, patience=0.1, next_token=60.0)
        with pytest.raises(BackendUnavailable, match="is frozen"):
            await take(client, SHORT, seen)
    assert seen == [1]


async def test_a_silent_server_that_answers_questions_is_alive(connect: Connect) -> None:
    async def slow(peer: Peer) -> None:
        await peer.begin()
        stream = await peer.request()
        for _ in range(5):
            assert (await peer.next(SETTINGS)).payload == b""
            peer.send(frame(SETTINGS, 1, 0))
        peer.answer(stream, [1])
        await peer.gone()

    async with hostile(slow) as address:
        assert await ids(connect(address, silence=0.02, patience=0.2)) == [1]


async def test_a_server_without_streams_is_not_questioned(connect: Connect) -> None:
    questions = 0

    async def idle(peer: Peer) -> None:
        nonlocal questions
        await peer.begin()
        peer.answer(await peer.request(), [1])
        while True:
            await peer.next(SETTINGS)
            questions += 1

    async with hostile(idle) as address:
        assert await ids(connect(address, silence=0.01)) == [1]
        # Nothing can announce that something will not happen.
        await asyncio.sleep(0.1)
    assert questions == 0


async def test_a_stream_may_be_silent_while_another_one_talks(connect: Connect) -> None:
    """Each stream has its own deadline between tokens."""

    async def uneven(peer: Peer) -> None:
        await peer.begin()
        first, second = await peer.request(), await peer.request()
        peer.send(response_headers(first), frame(DATA, 0, first, tokens(1)))
        peer.send(response_headers(second))
        for number in range(200):
            token = tokens(number, final=number == 199)
            peer.send(frame(DATA, 0, second, token))
            await peer.flushed()
            await asyncio.sleep(0.002)
        await peer.gone()

    async with hostile(uneven) as address:
        client = connect(address, next_token=0.1)
        silent = asyncio.create_task(ids(client))
        await asyncio.sleep(0)
        assert await ids(client) == list(range(200))
        with pytest.raises(BackendTimedOut):
            await silent


@pytest.mark.triton
async def test_a_stopped_triton_is_found_within_the_limits(runtime: Runtime) -> None:
    with token_triton(runtime) as server:
        limits = Limits(silence=0.3, patience=0.5, next_token=60)
        client = TritonClient(server.address, limits=limits)
        async with aclosing(client.generate(ENDLESS)) as answer:
            await anext(answer)
            server.freeze()
            begun = time.monotonic()
            with pytest.raises(BackendUnavailable, match="is frozen"):
                await drain(answer, [])
        assert time.monotonic() - begun < 2
        server.thaw()
        assert await ids(client, TokenRequest([1], 2)) == [1, 1]
        await client.close()
