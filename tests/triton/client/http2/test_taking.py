"""Tokens may be taken where they are read: the reader gets what is not, in its order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from itertools import pairwise

import pytest
from fakes.asking import SHORT, ids
from fakes.hostile_http2 import (
    DATA,
    PADDED,
    PING,
    RST_STREAM,
    WINDOW_UPDATE,
    Peer,
    frame,
    grpc_message,
    hostile,
    response_headers,
    settings,
    tokens,
    trailers,
)
from hypothesis import given
from hypothesis import strategies as st
from triton.client.http2.test_cuts import Wire

from enginix.errors import BackendError, BackendTimedOut, GenerationFailed
from enginix.generation.lane import Lane
from enginix.generation.limits import Limits
from enginix.triton.client.client import TritonClient
from enginix.triton.client.http2.connection import Connection
from enginix.triton.client.http2.stream import Stream
from enginix.triton.client.responses import Reader

Connect = Callable[..., TritonClient]
CANCEL = 8


class Taker:
    """Takes tokens up to and without `stop`."""

    def __init__(self, stop: int = -1) -> None:
        self.stop = stop
        self.ids: list[int] = []
        self.begun = asyncio.Event()
        self.some = asyncio.Event()

    def __call__(self, arrivals: list[tuple[int, ...]]) -> bool:
        ids = [token for each in arrivals for token in each]
        if self.stop in ids:
            return False
        self.ids += ids
        self.some.set()
        return True


async def read(client: TritonClient, taker: Taker, seen: list[int]) -> None:
    """Append to `seen` what is not taken."""
    async with aclosing(client.generate(replace(SHORT, take=taker))) as answer:
        async for chunks in answer:
            seen += [token for chunk in chunks for token in chunk.ids]
            taker.begun.set()


async def begin(peer: Peer, taker: Taker) -> int:
    """Send the first token and wait until it is read."""
    await peer.begin()
    stream = await peer.request()
    peer.send(response_headers(stream), frame(DATA, 0, stream, tokens(1)))
    await taker.begun.wait()
    return stream


async def test_the_first_and_the_last_are_yielded_and_those_between_taken(connect: Connect) -> None:
    taker = Taker()

    async def script(peer: Peer) -> None:
        stream = await begin(peer, taker)
        for token in (2, 3):
            peer.send(frame(DATA, 0, stream, tokens(token)))
            await taker.some.wait()
            taker.some.clear()
        peer.send(frame(DATA, 0, stream, tokens(4, final=True)), trailers(stream))
        await peer.gone()

    seen: list[int] = []
    async with hostile(script) as address:
        await read(connect(address), taker, seen)
    assert (seen, taker.ids) == ([1, 4], [2, 3])


async def test_what_is_not_taken_is_yielded_in_its_place(connect: Connect) -> None:
    taker = Taker(stop=3)
    seen: list[int] = []

    async def script(peer: Peer) -> None:
        stream = await begin(peer, taker)
        peer.send(frame(DATA, 0, stream, tokens(2)))
        await taker.some.wait()
        peer.send(*(frame(DATA, 0, stream, tokens(token)) for token in (3, 5)))
        peer.send(frame(DATA, 0, stream, tokens(4, final=True)), trailers(stream))
        await peer.gone()

    async with hostile(script) as address:
        await read(connect(address), taker, seen)
    assert taker.ids == [2]
    assert seen == [1, 3, 5, 4]


async def test_what_a_taker_raises_ends_the_request_at_the_server(connect: Connect) -> None:
    class Failing(Taker):
        def __call__(self, arrivals: list[tuple[int, ...]]) -> bool:
            raise GenerationFailed("of no use")

    taker = Failing()

    async def script(peer: Peer) -> None:
        stream = await begin(peer, taker)
        peer.send(frame(DATA, 0, stream, tokens(2)))
        reset = await peer.next(RST_STREAM)
        assert (reset.stream, reset.code) == (stream, CANCEL)
        # The connection is unharmed.
        peer.answer(await peer.request(), [7])
        await peer.gone()

    seen: list[int] = []
    async with hostile(script) as address:
        client = connect(address)
        with pytest.raises(GenerationFailed, match="of no use"):
            await read(client, taker, seen)
        seen += await ids(client)
    assert seen == [1, 7]


async def test_a_message_that_is_refused_after_others_of_its_read_ends_the_request(
    connect: Connect,
) -> None:
    taker = Taker()

    async def script(peer: Peer) -> None:
        stream = await begin(peer, taker)
        peer.send(frame(DATA, 0, stream, tokens(2)))
        await taker.some.wait()
        refused = frame(DATA, 0, stream, grpc_message(b"of no use", compressed=1))
        peer.send(frame(DATA, 0, stream, tokens(3)) + refused)
        await peer.gone()

    seen: list[int] = []
    async with hostile(script) as address, asyncio.timeout(20):
        with pytest.raises(GenerationFailed, match="compressed"):
            await read(connect(address), taker, seen)
    assert (taker.ids, seen) == ([2], [1, 3])


async def test_the_window_is_restored_for_what_is_taken(connect: Connect) -> None:
    taker = Taker()
    count = 2 * (64 << 10) // len(tokens(2))

    async def script(peer: Peer) -> None:
        stream = await begin(peer, taker)
        room = (64 << 10) - len(tokens(1))
        for _ in range(count):
            while room < len(tokens(2)):
                update = await peer.next(WINDOW_UPDATE)
                room += int.from_bytes(update.payload) if update.stream == stream else 0
            peer.send(frame(DATA, 0, stream, tokens(2)))
            room -= len(tokens(2))
        peer.send(frame(DATA, 0, stream, tokens(3, final=True)), trailers(stream))
        await peer.gone()

    seen: list[int] = []
    async with hostile(script) as address, asyncio.timeout(20):
        await read(connect(address), taker, seen)
    assert len(seen) + len(taker.ids) == count + 2
    assert taker.ids


async def test_a_model_that_falls_silent_after_taken_tokens_is_timed_out(connect: Connect) -> None:
    taker = Taker()

    async def script(peer: Peer) -> None:
        stream = await begin(peer, taker)
        peer.send(frame(DATA, 0, stream, tokens(2)))
        await peer.next(RST_STREAM)
        await peer.gone()

    async with hostile(script) as address:
        with pytest.raises(BackendTimedOut):
            await read(connect(address, next_token=0.3), taker, [])
    assert taker.ids == [2]


async def test_nothing_is_taken_after_the_reader_has_left(connect: Connect) -> None:
    taker = Taker()

    async def script(peer: Peer) -> None:
        stream = await begin(peer, taker)
        peer.send(frame(DATA, 0, stream, tokens(2)))
        await peer.next(RST_STREAM)
        peer.send(frame(DATA, 0, stream, tokens(3)))
        peer.answer(await peer.request(), [7])
        await peer.gone()

    async with hostile(script) as address:
        client = connect(address)

        task = asyncio.create_task(read(client, taker, []))
        await taker.some.wait()
        task.cancel()
        await asyncio.wait({task})
        assert await ids(client) == [7]
    assert taker.ids == [2]


# The tokens that a lane has, one that it has not, and one that must be read.
TEXTS = {2: b"2", 3: b"3"}
UNKNOWN, READ = 9, 4


class Lanes(Lane):
    """Reads a stream with a lane; `reads` are the tokens that each step brought, and how."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self._stream = stream
        self.reads: list[tuple[str, list[int]]] = []

    @property
    def ids(self) -> list[int]:
        return [token for _, ids in self.reads for token in ids]

    def pass_on(self, found: list[bytes]) -> None:
        self.reads.append(("lane", [int(each) for each in found]))

    def _take(self, arrivals: list[tuple[int, ...]]) -> bool:
        ids = [token for each in arrivals for token in each]
        if READ in ids:
            self.texts = None
            return False
        self.reads.append(("taken", ids))
        self.texts = TEXTS
        return True

    async def run(self) -> None:
        reader = Reader()
        offer = reader.offering(self._take, self)
        chunks = reader.read(await self._stream.receive(1))
        while chunks:
            self.reads.append(("read", [token for chunk in chunks for token in chunk.ids]))
            if chunks[-1].final:
                return
            chunks = reader.read(await self._stream.receive(1, offer, self))


async def in_lanes(reads: list[bytes]) -> Lanes:
    """What a stream's reader gets of these; it runs as far as it can after each."""
    connection = Connection("fake:1", Limits(), lambda: None)
    connection.connection_made(Wire())
    connection.data_received(settings())
    lanes = Lanes(connection.start(b""))
    task = asyncio.create_task(lanes.run())
    for each in reads:
        connection.data_received(each)
        for _ in range(3):
            await asyncio.sleep(0)
    connection.connection_lost(None)
    await task
    return lanes


async def test_a_lane_passes_on_what_a_read_brings_at_once_and_the_rest_in_its_place() -> None:
    def message(*ids: int, final: bool = False) -> bytes:
        return frame(DATA, 0, 1, tokens(*ids, final=final))

    lanes = await in_lanes(
        [
            response_headers(1) + message(2),
            message(3),
            message(2) + message(3),
            message(2) + message(UNKNOWN) + message(3),
            message(2),
            message(2) + message(READ) + message(3),
            message(3),
            message(2),
            message(3) + message(2, final=True) + trailers(1),
        ]
    )
    assert lanes.reads == [
        ("read", [2]),
        ("taken", [3]),
        ("lane", [2, 3]),
        ("lane", [2]),
        ("taken", [UNKNOWN, 3]),
        ("lane", [2]),
        ("lane", [2]),
        ("read", [READ, 3]),
        ("taken", [3]),
        ("lane", [2]),
        ("lane", [3]),
        ("read", [2]),
    ]


@given(
    st.lists(st.sampled_from([(2,), (3,), (UNKNOWN,), (READ,), (2, 3)]), max_size=30),
    st.sampled_from([(0, b""), (PADDED, b"\2")]),
    st.lists(st.integers(0, 3000), max_size=20),
)
def test_a_lane_keeps_the_order_however_the_bytes_are_cut(
    sent: list[tuple[int, ...]], padded: tuple[int, bytes], cuts: list[int]
) -> None:
    flags, length = padded
    data = response_headers(1)
    for place, content in enumerate(sent):
        # Every fifth is padded, or comes in two frames.
        message = tokens(*content)
        if place % 5 == 4 and flags:
            data += frame(DATA, flags, 1, length + message + bytes(2))
        elif place % 5 == 4:
            data += frame(DATA, 0, 1, message[:7]) + frame(PING, 0, 0, bytes(8))
            data += frame(DATA, 0, 1, message[7:])
        else:
            data += frame(DATA, 0, 1, message)
    data += frame(DATA, 0, 1, tokens(2, final=True)) + trailers(1)
    reads = [data[start:stop] for start, stop in pairwise([0, *sorted(cuts), len(data)])]
    lanes = asyncio.run(in_lanes([each for each in reads if each]))
    assert lanes.ids == [*(token for content in sent for token in content), 2]


@given(st.binary(max_size=300), st.integers(0, 200), st.binary(max_size=20))
def test_garbage_in_a_lane_is_an_answer_or_a_failure(
    garbage: bytes, place: int, other: bytes
) -> None:
    good = frame(DATA, 0, 1, tokens(2))
    changed = good[:place] + other + good[place + len(other) :]
    with suppress(BackendError):
        asyncio.run(in_lanes([response_headers(1) + good, good, good, changed, garbage]))
