"""Frames that violate HTTP/2 close the connection with an error code for the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from fakes.asking import ask, ids
from fakes.hostile_http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Peer,
    frame,
    header_block,
    hostile,
    response_headers,
    settings,
    tokens,
    trailers,
)

from enginix.errors import BackendUnavailable, ProtocolBroken
from enginix.triton.client.client import TritonClient

Connect = Callable[..., TritonClient]

PROTOCOL, FLOW, SIZE, COMPRESSION, CALM = 1, 3, 6, 9, 11
OK = header_block([(":status", "200"), ("content-type", "application/grpc")])

BROKEN = {
    "a frame larger than agreed on": (frame(DATA, 0, 1, bytes(16_385)), SIZE),
    "a head that promises too much": (b"\xff\xff\xff\x00\x00\x00\x00\x00\x01", SIZE),
    "DATA before HEADERS": (frame(DATA, 0, 1, tokens(1)), PROTOCOL),
    "DATA on the connection": (frame(DATA, 0, 0, tokens(1)), PROTOCOL),
    "DATA for a stream never begun": (frame(DATA, 0, 99, tokens(1)), PROTOCOL),
    "DATA for a stream of the server": (frame(DATA, 0, 2, tokens(1)), PROTOCOL),
    "HEADERS on the connection": (frame(HEADERS, END_HEADERS, 0, OK), PROTOCOL),
    "HEADERS for a stream never begun": (frame(HEADERS, END_HEADERS, 99, OK), PROTOCOL),
    "HEADERS between DATA frames": (response_headers(1) * 2, PROTOCOL),
    "HEADERS that are all padding": (frame(HEADERS, END_HEADERS | PADDED, 1, b"\x09"), PROTOCOL),
    "HEADERS too short for a priority": (frame(HEADERS, END_HEADERS | 0x20, 1, b"abc"), SIZE),
    "HEADERS that cannot be read": (
        frame(HEADERS, END_HEADERS, 1, b"\x7f\xff\xff\xff\xff\xff\xff"),
        COMPRESSION,
    ),
    "HEADERS that name an unknown entry": (
        frame(HEADERS, END_HEADERS, 1, b"\xff\x80\x01"),
        COMPRESSION,
    ),
    "DATA inside a header block": (
        frame(HEADERS, 0, 1, OK) + frame(DATA, 0, 1, b""),
        PROTOCOL,
    ),
    "another stream's CONTINUATION": (
        frame(HEADERS, 0, 1, OK) + frame(CONTINUATION, END_HEADERS, 3),
        PROTOCOL,
    ),
    "an unknown frame inside a header block": (
        frame(HEADERS, 0, 1, OK) + frame(0x42, 0, 0),
        PROTOCOL,
    ),
    "CONTINUATION without HEADERS": (frame(CONTINUATION, END_HEADERS, 1, OK), PROTOCOL),
    "CONTINUATION without end": (
        frame(HEADERS, 0, 1, OK) + frame(CONTINUATION, 0, 1) * 100,
        CALM,
    ),
    "a header block too large": (
        frame(HEADERS, 0, 1, OK) + frame(CONTINUATION, 0, 1, bytes(16_000)) * 5,
        CALM,
    ),
    "a header list too large": (
        # An entry of 4,000 bytes for the table, and one byte each to say it again.
        frame(HEADERS, END_HEADERS, 1, b"\x40\x01x\x7f\xa1\x1e" + b"y" * 4000 + b"\xbe" * 20),
        COMPRESSION,
    ),
    "DATA that is all padding": (
        response_headers(1) + frame(DATA, PADDED, 1, b"\x05abcd"),
        PROTOCOL,
    ),
    "DATA that lacks its padding's length": (
        response_headers(1) + frame(DATA, PADDED, 1, b""),
        PROTOCOL,
    ),
    "PUSH_PROMISE": (frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4) + OK), PROTOCOL),
    "a short RST_STREAM": (frame(RST_STREAM, 0, 1, b"abc"), SIZE),
    "RST_STREAM for a stream never begun": (frame(RST_STREAM, 0, 99, bytes(4)), PROTOCOL),
    "SETTINGS on a stream": (frame(SETTINGS, 0, 1), PROTOCOL),
    "SETTINGS of odd length": (frame(SETTINGS, 0, 0, b"abc"), SIZE),
    "an acknowledgement with content": (frame(SETTINGS, ACK, 0, bytes(6)), SIZE),
    "a window too large from the start": (settings(window=2**31), FLOW),
    "frames too small": (settings(frame=100), PROTOCOL),
    "frames too large": (settings(frame=2**24), PROTOCOL),
    "a wish to be pushed to": (settings(push=1), PROTOCOL),
    "PING on a stream": (frame(PING, 0, 1, bytes(8)), PROTOCOL),
    "a short PING": (frame(PING, 0, 0, b"abc"), SIZE),
    "GOAWAY on a stream": (frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL),
    "a short GOAWAY": (frame(GOAWAY, 0, 0, b"abc"), SIZE),
    "a short WINDOW_UPDATE": (frame(WINDOW_UPDATE, 0, 0, b"abc"), SIZE),
    "a WINDOW_UPDATE of 0 bytes": (frame(WINDOW_UPDATE, 0, 0, bytes(4)), PROTOCOL),
    "WINDOW_UPDATE for a stream never begun": (
        frame(WINDOW_UPDATE, 0, 99, b"\0\0\0\1"),
        PROTOCOL,
    ),
    "a window that overflows": (frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), FLOW),
}


@pytest.mark.parametrize("rule", BROKEN)
async def test_a_broken_rule_ends_the_connection_with_its_code(connect: Connect, rule: str) -> None:
    data, code = BROKEN[rule]
    told = asyncio.get_running_loop().create_future()

    async def breaking(peer: Peer) -> None:
        await peer.begin()
        await peer.request()
        peer.send(data)
        told.set_result((await peer.next(GOAWAY)).code)
        await peer.gone()

    async with hostile(breaking) as address:
        with pytest.raises(BackendUnavailable, match="broke HTTP/2"):
            await ask(connect(address))
        assert await asyncio.wait_for(told, 5) == code


async def test_the_connection_after_a_broken_one_works(connect: Connect) -> None:
    async def breaking(peer: Peer) -> None:
        await peer.begin()
        stream = await peer.request()
        peer.send(response_headers(stream), frame(PING, 0, 0, b"abc"))
        await peer.gone()

    async def answering(peer: Peer) -> None:
        await peer.begin()
        peer.answer(await peer.request(), [1])
        await peer.gone()

    async with hostile(breaking, answering) as address:
        client = connect(address)
        with pytest.raises(ProtocolBroken):
            await ask(client)
        assert await ids(client) == [1]


async def test_a_header_block_in_many_fragments_is_read(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.begin()
        stream = await peer.request()
        pieces = [OK[i : i + 1] for i in range(len(OK))]
        peer.send(frame(HEADERS, 0, stream))
        peer.send(*(frame(CONTINUATION, 0, stream, piece) for piece in pieces))
        peer.send(frame(CONTINUATION, END_HEADERS, stream))
        peer.send(frame(DATA, 0, stream, tokens(1, final=True)), trailers(stream))
        await peer.gone()

    async with hostile(script) as address:
        assert await ids(connect(address)) == [1]


async def test_the_compression_table_stays_in_step_without_readers(connect: Connect) -> None:
    # Entered in a cancelled stream's trailers, used in the next stream's headers.
    entered = b"\x40\x0ccontent-type\x10application/grpc"
    status, used = b"\x88", b"\xbe"
    asked = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.begin()
        stream = await peer.request()
        asked.set()
        peer.send(response_headers(stream))
        await peer.next(RST_STREAM)
        peer.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, entered))
        stream = await peer.request()
        peer.send(frame(HEADERS, END_HEADERS, stream, status + used))
        peer.send(frame(DATA, 0, stream, tokens(1, final=True)), trailers(stream))
        await peer.gone()

    async with hostile(script) as address:
        client = connect(address)
        task = asyncio.create_task(ask(client))
        await asked.wait()
        task.cancel()
        await asyncio.wait([task])
        assert await ids(client) == [1]


async def test_pings_are_answered_with_their_own_content(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.begin()
        stream = await peer.request()
        peer.send(frame(PING, 0, 0, b"question"), frame(PING, ACK, 0, b"unasked!"))
        while (read := await peer.read()).kind != PING:
            pass
        assert (read.flags, read.payload) == (ACK, b"question")
        peer.answer(stream, [1])
        await peer.gone()

    async with hostile(script) as address:
        assert await ids(connect(address)) == [1]


async def test_a_server_that_sends_but_does_not_read_is_disconnected(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.begin()
        await peer.request()
        while True:
            peer.send(frame(PING, 0, 0, bytes(8)) * 10_000)
            await peer.flushed()

    async with hostile(script) as address:
        with pytest.raises(BackendUnavailable, match="sends but does not read"):
            await ask(connect(address, first_token=60.0, silence=60.0))


async def test_a_request_has_the_headers_that_grpc_requires(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.begin()
        for _ in range(2):
            stream = await peer.request()
            assert peer.fields == {
                ":method": "POST",
                ":scheme": "http",
                ":path": "/inference.GRPCInferenceService/ModelStreamInfer",
                ":authority": address,
                "te": "trailers",
                "content-type": "application/grpc",
                "grpc-accept-encoding": "identity",
                "user-agent": "enginix",
            }
            # A table of another size must not matter to a client that uses none.
            peer.send(settings(table=0))
            peer.answer(stream, [1])
        await peer.gone()

    async with hostile(script) as address:
        client = connect(address)
        assert await ids(client) == [1]
        assert await ids(client) == [1]
