"""Tokens may be taken where they are read: the reader gets what is not, in its order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace

import pytest
from fakes.asking import SHORT, ids
from fakes.hostile_http2 import (
    DATA,
    RST_STREAM,
    WINDOW_UPDATE,
    Peer,
    frame,
    hostile,
    response_headers,
    tokens,
    trailers,
)

from enginix.errors import BackendTimedOut, GenerationFailed
from enginix.triton.client.client import TritonClient

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
