"""How a request ends that nobody reads any more: the model is told to stop it.

A Triton before 25.03 may crash when a stream is cancelled in the moment in which its request ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing

import pytest_asyncio
from fakes.asking import ids
from fakes.hostile_http2 import (
    DATA,
    END_STREAM,
    RST_STREAM,
    Peer,
    frame,
    hostile,
    response_headers,
    settings,
    tokens,
    trailers,
)

from enginix.generation.request import TokenRequest
from enginix.triton.client.client import TritonClient
from enginix.triton.client.tensor_names import TensorNames

NAMES = TensorNames("model", frozenset({"input_ids", "stop"}), frozenset({"output_ids"}))
ENDLESS = TokenRequest([1, 2, 3], 1000, request_id="first")
CANCEL = 8


@pytest_asyncio.fixture
async def connect() -> AsyncIterator[Callable[[str], TritonClient]]:
    """Creates clients of a model that can be told to stop."""
    async with AsyncExitStack() as clients:

        def make(address: str) -> TritonClient:
            client = TritonClient(address, "model", tensor_names=NAMES)
            clients.push_async_callback(client.close)
            return client

        yield make


async def leave(client: TritonClient, request: TokenRequest = ENDLESS) -> None:
    async with aclosing(client.generate(request)) as answer:
        await anext(answer)


async def test_the_model_is_told_to_stop_and_the_stream_ends_by_itself(
    connect: Callable[[str], TritonClient],
) -> None:
    frames = []

    async def script(peer: Peer) -> None:
        await peer.begin()
        stream = await peer.request()
        peer.send(response_headers(stream), frame(DATA, 0, stream, tokens(8)))
        stopping, message = await peer.message()
        assert message.id == "first"
        assert [each.name for each in message.inputs][-1] == "stop"
        peer.send(frame(DATA, 0, stream, tokens(9)))
        peer.send(frame(DATA, 0, stream, tokens(final=True)), trailers(stream))
        peer.send(response_headers(stopping), trailers(stopping))
        while not (read := await peer.read()).flags & END_STREAM or read.kind != DATA:
            frames.append(read.kind)
        peer.answer(read.stream, [4])
        await peer.gone()

    async with hostile(script) as address:
        client = connect(address)
        await leave(client)
        assert await ids(client) == [4]
        assert RST_STREAM not in frames
        assert client.late_tokens == 1


async def test_a_stream_that_goes_on_for_a_second_is_cancelled(
    connect: Callable[[str], TritonClient],
) -> None:
    taken = asyncio.get_running_loop().create_future()

    async def script(peer: Peer) -> None:
        await peer.begin()
        stream = await peer.request()
        peer.send(response_headers(stream), frame(DATA, 0, stream, tokens(8)))
        stopping = await peer.request()
        since = asyncio.get_running_loop().time()
        cancelled = [await peer.next(RST_STREAM), await peer.next(RST_STREAM)]
        assert {(each.stream, each.code) for each in cancelled} == {
            (stream, CANCEL),
            (stopping, CANCEL),
        }
        taken.set_result(asyncio.get_running_loop().time() - since)
        await peer.gone()

    async with hostile(script) as address:
        client = connect(address)
        await leave(client)
        assert 0.5 < await taken < 2


async def test_a_server_without_room_for_a_stop_gets_a_cancellation(
    connect: Callable[[str], TritonClient],
) -> None:
    async def script(peer: Peer) -> None:
        await peer.begin(settings(streams=1))
        stream = await peer.request()
        peer.send(response_headers(stream), frame(DATA, 0, stream, tokens(8)))
        cancelled = await peer.next(RST_STREAM)
        assert (cancelled.stream, cancelled.code) == (stream, CANCEL)
        peer.answer(await peer.request(), [4])
        await peer.gone()

    async with hostile(script) as address:
        client = connect(address)
        await leave(client)
        assert await ids(client) == [4]


async def test_a_request_that_is_not_yet_sent_in_full_is_cancelled(
    connect: Callable[[str], TritonClient],
) -> None:
    async def script(peer: Peer) -> None:
        await peer.begin(settings(window=10))
        begun = await peer.next(DATA)
        stream = begun.stream
        peer.send(response_headers(stream), frame(DATA, 0, stream, tokens(8)))
        cancelled = await peer.next(RST_STREAM)
        assert (cancelled.stream, cancelled.code) == (stream, CANCEL)
        await peer.gone()

    async with hostile(script) as address:
        await leave(connect(address))


async def test_a_request_without_an_id_is_cancelled(
    connect: Callable[[str], TritonClient],
) -> None:
    async def script(peer: Peer) -> None:
        await peer.begin()
        stream = await peer.request()
        peer.send(response_headers(stream), frame(DATA, 0, stream, tokens(8)))
        cancelled = await peer.next(RST_STREAM)
        assert (cancelled.stream, cancelled.code) == (stream, CANCEL)
        await peer.gone()

    async with hostile(script) as address:
        await leave(connect(address), TokenRequest([1], 9))
