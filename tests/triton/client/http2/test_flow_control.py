"""Neither side sends more than the other's window allows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import pytest
from fakes.asking import SHORT, ask, drain, ids
from fakes.hostile_http2 import (
    DATA,
    END_STREAM,
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
    whole_answer,
)

from enginix.errors import BackendUnavailable, GenerationFailed
from enginix.triton.client.client import TokenRequest, TritonClient

Connect = Callable[..., TritonClient]

WINDOW = 64 << 10
LARGE = TokenRequest(list(range(100_000)), 3)


def credit(stream: int, amount: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, amount.to_bytes(4))


async def read_body(peer: Peer) -> tuple[int, bytes]:
    """A request's stream and its bytes, without restoring the window."""
    body = b""
    while True:
        read = await peer.next(DATA)
        body += read.payload
        if read.flags & END_STREAM:
            return read.stream, body


async def test_a_reader_that_stops_stops_the_server(connect: Connect) -> None:
    blocked = asyncio.Event()
    message = tokens(7)
    fitting = WINDOW // len(message)

    async def script(peer: Peer) -> None:
        await peer.begin()
        stream = await peer.request()
        peer.send(response_headers(stream), *([frame(DATA, 0, stream, message)] * fitting))
        blocked.set()
        room = 0
        while room < len(message):
            update = await peer.next(WINDOW_UPDATE)
            room += int.from_bytes(update.payload) if update.stream == stream else 0
        peer.send(frame(DATA, 0, stream, tokens(8, final=True)), trailers(stream))
        await peer.gone()

    async with hostile(script) as address, aclosing(connect(address).generate(SHORT)) as answer:
        seen = len(await anext(answer))
        await blocked.wait()
        async for chunks in answer:
            seen += len(chunks)
    assert seen == fitting + 1


async def test_the_window_is_restored_only_for_data_that_was_read(connect: Connect) -> None:
    reading, answered = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.begin()
        stream = await peer.request()
        peer.send(response_headers(stream), frame(DATA, 0, stream, tokens(7)))
        await reading.wait()
        fill = [frame(DATA, 0, stream, tokens(7))] * (WINDOW // len(tokens(7)) - 1)
        # The client's answer to a PING comes after all it does about the DATA before it.
        peer.send(*fill, frame(PING, 0, 0, b"did you?"))
        while (read := await peer.read()).kind != PING:
            assert (read.kind, read.stream) != (WINDOW_UPDATE, stream)
        answered.set()
        await peer.gone()

    async with hostile(script) as address, aclosing(connect(address).generate(SHORT)) as answer:
        await anext(answer)
        reading.set()
        await asyncio.wait_for(answered.wait(), 5)


async def test_one_stream_that_is_not_read_leaves_room_for_the_others(connect: Connect) -> None:
    message = tokens(7)

    async def script(peer: Peer) -> None:
        await peer.begin()
        unread = [await peer.request() for _ in range(4)]
        for stream in unread:
            fill = [frame(DATA, 0, stream, message)] * (WINDOW // len(message))
            peer.send(response_headers(stream), *fill)
        peer.answer(await peer.request(), [1, 2, 3])
        await peer.gone()

    async with hostile(script) as address:
        client = connect(address)
        answers = [client.generate(SHORT) for _ in range(4)]
        await asyncio.gather(*(anext(answer) for answer in answers))
        assert await ids(client) == [1, 2, 3]
        for answer in answers:
            await answer.aclose()


# The last one is as large as the scores of a prompt of 41,000 tokens with 20 likeliest for each.
@pytest.mark.parametrize(("padding", "size"), [(0, 100_000), (200, 100_000), (0, 1_700_000)])
async def test_a_message_larger_than_the_window_gets_through(
    connect: Connect, padding: int, size: int
) -> None:
    many = list(range(size))

    async def script(peer: Peer) -> None:
        await peer.begin()
        stream = await peer.request()
        peer.send(response_headers(stream))
        left, room = memoryview(tokens(*many, final=True)), WINDOW
        while left:
            size = min(len(left), 16_000, room - padding - 1)
            if size <= 0:
                update = await peer.next(WINDOW_UPDATE)
                room += int.from_bytes(update.payload) if update.stream == stream else 0
                continue
            piece, left = left[:size], left[size:]
            padded = bytes((padding,)) + bytes(piece) + bytes(padding)
            peer.send(frame(DATA, PADDED, stream, padded))
            room -= len(padded)
        peer.send(trailers(stream))
        await peer.gone()

    async with hostile(script) as address:
        assert await ids(connect(address)) == many


async def test_a_server_that_overruns_a_streams_window_is_left(connect: Connect) -> None:
    reading, left = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.begin()
        stream = await peer.request()
        peer.send(response_headers(stream), frame(DATA, 0, stream, tokens(7)))
        await reading.wait()
        peer.send(*([frame(DATA, 0, stream, tokens(7))] * (WINDOW // len(tokens(7)) + 1)))
        await peer.gone()
        left.set()

    seen: list[int] = []
    async with hostile(script) as address, aclosing(connect(address).generate(SHORT)) as answer:
        await anext(answer)
        reading.set()
        await asyncio.wait_for(left.wait(), 5)
        with pytest.raises(BackendUnavailable, match="more data than the stream's window"):
            await drain(answer, seen)
    assert len(seen) * len(tokens(7)) <= WINDOW


async def test_a_message_beyond_the_limit_is_refused_before_it_is_gathered(
    connect: Connect,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.begin()
        stream = await peer.request()
        peer.send(response_headers(stream), frame(DATA, 0, stream, grpc_message(bytes(2000))))
        assert (await peer.next(RST_STREAM)).stream == stream
        peer.answer(await peer.request(), [1])
        await peer.gone()

    async with hostile(script) as address:
        client = connect(address, max_message_bytes=1000)
        with pytest.raises(GenerationFailed, match="2000 bytes; the limit is 1000"):
            await ask(client)
        assert await ids(client) == [1]


async def test_a_large_request_waits_for_room_in_its_stream(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.begin(settings(window=1000) + credit(0, 1 << 20))
        body = b""
        while len(body) < 1000:
            read = await peer.next(DATA)
            body += read.payload
        assert len(body) == 1000
        peer.send(credit(read.stream, 1 << 20))
        stream, rest = await read_body(peer)
        assert len(body + rest) == int.from_bytes(body[1:5]) + 5
        peer.answer(stream, [1])
        await peer.gone()

    async with hostile(script) as address:
        assert await ids(connect(address), LARGE) == [1]


async def test_a_large_request_waits_for_room_in_the_connection(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.begin(settings(window=1 << 20))
        size = 0
        while size < 65_535:
            size += len((await peer.next(DATA)).payload)
        assert size == 65_535
        peer.send(credit(0, 1 << 20))
        stream, rest = await read_body(peer)
        assert size + len(rest) > 4 * len(LARGE.prompt_ids)
        peer.answer(stream, [1])
        await peer.gone()

    async with hostile(script) as address:
        assert await ids(connect(address), LARGE) == [1]


async def test_room_that_is_taken_away_amid_a_request_must_be_earned_back(
    connect: Connect,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.begin(settings(window=30_000) + credit(0, 1 << 20))
        size = 0
        while size < 30_000:
            read = await peer.next(DATA)
            size += len(read.payload)
        # The stream's window is now 10,000 - 30,000: 20,000 do not make it positive.
        peer.send(settings(window=10_000), credit(read.stream, 20_000), frame(6, 0, 0, bytes(8)))
        while (pong := await peer.read()).kind != 6:
            assert pong.kind != DATA
        peer.send(credit(read.stream, 1))
        assert len((await peer.next(DATA)).payload) == 1
        peer.send(settings(window=1 << 20))
        stream, _ = await read_body(peer)
        peer.answer(stream, [1])
        await peer.gone()

    async with hostile(script) as address:
        assert await ids(connect(address), LARGE) == [1]


async def test_no_frame_is_larger_than_the_server_allows(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.begin(settings(window=1 << 20, frame=20_000) + credit(0, 1 << 20))
        sizes = []
        while True:
            read = await peer.next(DATA)
            sizes.append(len(read.payload))
            if read.flags & END_STREAM:
                break
        assert max(sizes) == 20_000
        peer.answer(read.stream, [1])
        await peer.gone()

    async with hostile(script) as address:
        assert await ids(connect(address), LARGE) == [1]


async def test_a_small_request_passes_a_large_one_that_waits_for_window(
    connect: Connect,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.begin(settings(window=1000) + credit(0, 1 << 20))
        large = (await peer.next(DATA)).stream
        small = await peer.request()
        assert small != large
        peer.answer(small, [2])
        peer.send(credit(large, 1 << 20))
        peer.answer(await peer.request(), [1])
        await peer.gone()

    async with hostile(script) as address:
        client = connect(address)
        large = asyncio.create_task(ids(client, LARGE))
        await asyncio.sleep(0)
        assert await ids(client) == [2]
        assert await large == [1]


async def test_a_request_abandoned_amid_its_sending_is_reset(connect: Connect) -> None:
    begun = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.begin(settings(window=1000))
        read = await peer.next(DATA)
        begun.set()
        reset = await peer.next(RST_STREAM)
        assert (reset.stream, reset.code) == (read.stream, 8)
        peer.answer(await peer.request(), [1])
        await peer.gone()

    async with hostile(script) as address:
        client = connect(address)
        task = asyncio.create_task(ask(client, LARGE))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await ids(client) == [1]


async def test_an_answer_that_comes_before_the_request_was_sent_ends_its_sending(
    connect: Connect,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.begin(settings(window=1000))
        read = await peer.next(DATA)
        peer.send(whole_answer(read.stream, [5]))
        assert (await peer.next(RST_STREAM)).stream == read.stream
        peer.answer(await peer.request(), [6])
        await peer.gone()

    async with hostile(script) as address:
        client = connect(address)
        assert await ids(client, LARGE) == [5]
        assert await ids(client) == [6]
