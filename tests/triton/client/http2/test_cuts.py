"""TCP delivers bytes, not frames: any split of an answer gives the same result."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from fakes.asking import ids
from fakes.hostile_http2 import (
    DATA,
    END_HEADERS,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    Peer,
    frame,
    header_block,
    hostile,
    response_headers,
    settings,
    tokens,
    trailers,
    whole_answer,
)
from hypothesis import given
from hypothesis import strategies as st

from enginix.errors import BackendError
from enginix.generation.limits import Limits
from enginix.triton.client.client import TritonClient
from enginix.triton.client.http2.connection import Connection

Connect = Callable[..., TritonClient]

FIELDS = header_block([(":status", "200"), ("content-type", "application/grpc")])


class Wire(asyncio.Transport):
    """Discards what a connection writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()

    def write(self, data: object) -> None:
        self.written += data  # type: ignore[operator]

    def close(self) -> None: ...

    def abort(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0


async def received(*chunks: bytes) -> list[bytes]:
    """The messages of one stream after `chunks` have arrived."""
    connection = Connection("fake:1", Limits(), lambda: None)
    connection.connection_made(Wire())
    connection.data_received(settings())
    stream = connection.start(b"")
    for chunk in chunks:
        connection.data_received(chunk)
    messages = []
    while more := await stream.receive(1):
        messages += more
    return messages


# Everything that may surround tokens: unknown frames, padding, PINGs, priorities, interim headers.
ANSWER = b"".join(
    (
        frame(HEADERS, END_HEADERS, 1, header_block([(":status", "103")])),
        frame(HEADERS, END_HEADERS | PADDED | 0x20, 1, b"\x03" + bytes(5) + FIELDS + bytes(3)),
        frame(DATA, 0, 1, tokens(1)),
        frame(0x42, 0xFF, 7, b"of a kind to come"),
        frame(PING, 0, 0, b"12345678"),
        frame(DATA, PADDED, 1, b"\x05" + tokens(2) + bytes(5)),
        frame(PRIORITY, 0, 1, bytes(5)),
        frame(DATA, 0, 1, b""),
        frame(DATA, 0, 1, tokens(3) + tokens(4)[:20]),
        frame(DATA, 0, 1, tokens(4)[20:]),
        *(frame(DATA, 0, 1, tokens(5)[i : i + 1]) for i in range(len(tokens(5)))),
        frame(DATA, 0, 1, tokens(6, final=True)),
        trailers(1),
    )
)
MESSAGES = [tokens(i)[5:] for i in range(1, 6)] + [tokens(6, final=True)[5:]]


async def test_an_answer_in_one_chunk_is_read() -> None:
    assert await received(ANSWER) == MESSAGES


async def test_an_answer_cut_in_two_at_any_byte_is_the_same() -> None:
    for cut in range(1, len(ANSWER)):
        assert await received(ANSWER[:cut], ANSWER[cut:]) == MESSAGES


async def test_an_answer_in_single_bytes_is_the_same() -> None:
    assert await received(*(ANSWER[i : i + 1] for i in range(len(ANSWER)))) == MESSAGES


@given(st.lists(st.integers(0, len(ANSWER)), max_size=40))
def test_an_answer_in_any_chunks_is_the_same(cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), len(ANSWER)]
    chunks = [ANSWER[a:b] for a, b in pairwise(bounds)]
    assert asyncio.run(received(*chunks)) == MESSAGES


@given(st.binary(max_size=60), st.integers(0, len(ANSWER)), st.integers(0, 30))
def test_garbage_at_any_place_fails_or_is_skipped_but_never_breaks(
    garbage: bytes, place: int, swallowed: int
) -> None:
    broken = ANSWER[:place] + garbage + ANSWER[place + swallowed :]
    asyncio.run(_ends(broken))


async def _ends(data: bytes) -> None:
    connection = Connection("fake:1", Limits(), lambda: None)
    connection.connection_made(Wire())
    connection.data_received(settings())
    stream = connection.start(b"")
    connection.data_received(data)
    connection.connection_lost(None)
    try:
        while await stream.receive(1):
            pass
    except BackendError:
        pass


async def test_interleaved_streams_are_separated(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.begin()
        streams = [await peer.request() for _ in range(8)]
        parts = [(stream, position) for stream in streams for position in range(20)]
        order = sorted(parts, key=lambda part: (part[1], random.Random(part[0]).random()))
        peer.send(*(response_headers(stream) for stream in streams))
        for stream, position in order:
            token = tokens(stream * 100 + position, final=position == 19)
            peer.send(frame(DATA, 0, stream, token))
        peer.send(*(trailers(stream) for stream in streams))
        await peer.gone()

    async with hostile(script) as address:
        client = connect(address)
        answers = await asyncio.gather(*(ids(client) for _ in range(8)))
    assert sorted(answers) == [[s * 100 + p for p in range(20)] for s in range(1, 16, 2)]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_small_writes_of_a_server_do_not_matter(connect: Connect, size: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.begin()
        data = whole_answer(await peer.request(), list(range(30)))
        for start in range(0, len(data), size):
            peer.send(data[start : start + size])
            await peer.flushed()
        await peer.gone()

    async with hostile(script) as address:
        assert await ids(connect(address)) == list(range(30))
