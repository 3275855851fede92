"""Every way a server may end a stream or a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import pytest
from fakes.asking import SHORT, ask, ids, take
from fakes.hostile_http2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    RST_STREAM,
    Peer,
    frame,
    grpc_message,
    header_block,
    hostile,
    response_headers,
    tokens,
    trailers,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enginix.errors import BackendError, BackendTimedOut, BackendUnavailable, GenerationFailed
from enginix.generation.limits import Limits
from enginix.triton.client.client import TritonClient
from enginix.triton.client.http2.connection import Connection

Connect = Callable[..., TritonClient]

REFUSED_STREAM, CANCEL = 7, 8


def goaway(last: int, code: int = 0, words: bytes = b"") -> bytes:
    return frame(GOAWAY, 0, 0, last.to_bytes(4) + code.to_bytes(4) + words)


def reset(stream: int, code: int) -> bytes:
    return frame(RST_STREAM, 0, stream, code.to_bytes(4))


async def answering(peer: Peer) -> None:
    """Answers every request."""
    await peer.begin()
    while True:
        peer.answer(await peer.request(), [1, 2, 3])


async def test_streams_before_a_goaway_finish_and_later_ones_go_elsewhere(
    connect: Connect,
) -> None:
    said = asyncio.Event()

    async def leaving(peer: Peer) -> None:
        await peer.begin()
        stream = await peer.request()
        peer.send(response_headers(stream), frame(DATA, 0, stream, tokens(8)), goaway(stream))
        await peer.flushed()
        await said.wait()
        peer.send(frame(DATA, 0, stream, tokens(9, final=True)), trailers(stream))
        await peer.gone()

    async with hostile(leaving, answering) as address:
        client = connect(address)
        async with aclosing(client.generate(SHORT)) as old:
            assert (await anext(old))[0].ids == (8,)
            assert await ids(client) == [1, 2, 3]
            said.set()
            assert (await anext(old))[0].ids == (9,)


async def test_a_stream_above_the_goaways_last_id_is_retried_on_a_new_connection(
    connect: Connect,
) -> None:
    async def leaving(peer: Peer) -> None:
        await peer.begin()
        await peer.request()
        peer.send(goaway(0))
        await peer.gone()

    async with hostile(leaving, answering) as address:
        assert await ids(connect(address)) == [1, 2, 3]


async def test_a_graceful_shutdown_in_two_steps_loses_nothing(connect: Connect) -> None:
    async def leaving(peer: Peer) -> None:
        await peer.begin()
        peer.send(goaway(2**31 - 1), frame(6, 0, 0, b"12345678"))
        stream = await peer.request()
        peer.send(goaway(stream))
        peer.answer(stream, [4])
        await peer.gone()

    async with hostile(leaving, answering) as address:
        assert await ids(connect(address)) in ([4], [1, 2, 3])


async def test_a_refused_stream_is_retried(connect: Connect) -> None:
    async def refusing(peer: Peer) -> None:
        await peer.begin()
        peer.send(reset(await peer.request(), REFUSED_STREAM))
        peer.answer(await peer.request(), [4])
        await peer.gone()

    async with hostile(refusing) as address:
        assert await ids(connect(address)) == [4]


async def test_a_server_that_refuses_always_is_unavailable(connect: Connect) -> None:
    asked = 0

    async def refusing(peer: Peer) -> None:
        nonlocal asked
        await peer.begin()
        while True:
            peer.send(reset(await peer.request(), REFUSED_STREAM))
            asked += 1

    async with hostile(refusing) as address:
        with pytest.raises(BackendUnavailable, match="REFUSED_STREAM"):
            await ask(connect(address))
    assert asked == 3


async def test_a_reset_during_the_answer_is_not_retried(connect: Connect) -> None:
    async def resetting(peer: Peer) -> None:
        await peer.begin()
        stream = await peer.request()
        peer.send(response_headers(stream), frame(DATA, 0, stream, tokens(8)), reset(stream, 2))
        await peer.gone()

    seen: list[int] = []
    async with hostile(resetting, answering) as address:
        with pytest.raises(BackendUnavailable, match="INTERNAL_ERROR"):
            await take(connect(address), SHORT, seen)
    assert seen == [8]


async def test_a_connection_lost_before_the_answer_is_retried(connect: Connect) -> None:
    async def vanishing(peer: Peer) -> None:
        await peer.begin()
        await peer.request()
        peer.vanish()

    async with hostile(vanishing, answering) as address:
        assert await ids(connect(address)) == [1, 2, 3]


@pytest.mark.parametrize("leave", [Peer.vanish, lambda peer: None], ids=["reset", "close"])
async def test_a_connection_lost_amid_the_answer_is_unavailable(
    connect: Connect, leave: Callable[[Peer], None]
) -> None:
    async def leaving(peer: Peer) -> None:
        await peer.begin()
        stream = await peer.request()
        peer.send(response_headers(stream), frame(DATA, 0, stream, tokens(8)))
        await peer.flushed()
        leave(peer)

    async with hostile(leaving, answering) as address:
        client = connect(address)
        with pytest.raises(BackendUnavailable, match="lost Triton at"):
            await ask(client)
        assert await ids(client) == [1, 2, 3]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (14, BackendUnavailable),
        (1, BackendUnavailable),
        (4, BackendTimedOut),
        (13, GenerationFailed),
        (12, GenerationFailed),
        (8, GenerationFailed),
        (99, GenerationFailed),
    ],
)
async def test_a_status_instead_of_an_answer_is_an_error_with_its_message(
    connect: Connect, status: int, error: type[BackendError]
) -> None:
    fields = [
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", str(status)),
        ("grpc-message", "no%20r%C3%BCckgrat 100%"),
    ]

    async def refusing(peer: Peer) -> None:
        await peer.begin()
        stream = await peer.request()
        peer.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, header_block(fields)))
        await peer.gone()

    async with hostile(refusing) as address:
        with pytest.raises(error, match="no rückgrat 100%"):
            await ask(connect(address))


async def test_a_status_after_tokens_comes_after_them(connect: Connect) -> None:
    async def failing(peer: Peer) -> None:
        await peer.begin()
        stream = await peer.request()
        data = frame(DATA, 0, stream, tokens(8))
        peer.send(response_headers(stream), data, trailers(stream, 13, "broken"))
        await peer.gone()

    seen: list[int] = []
    async with hostile(failing) as address:
        with pytest.raises(GenerationFailed, match="INTERNAL: broken"):
            await take(connect(address), SHORT, seen)
    assert seen == [8]


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        (lambda stream: trailers(stream), "before the last token"),
        (lambda stream: frame(DATA, END_STREAM, stream), "without a status"),
        (
            lambda stream: frame(DATA, 0, stream, tokens(9)[:10]) + trailers(stream),
            "inside a message",
        ),
        (
            lambda stream: frame(DATA, 0, stream, grpc_message(b"\x0a\xff\xff")),
            "not a ModelStreamInferResponse",
        ),
        (lambda stream: frame(DATA, 0, stream, grpc_message(b"", compressed=1)), "compressed"),
        (
            lambda stream: frame(DATA, END_STREAM, stream, grpc_message(b"", compressed=1)),
            "compressed",
        ),
    ],
)
async def test_an_incomplete_answer_never_counts_as_complete(
    connect: Connect, ending: Callable[[int], bytes], words: str
) -> None:
    async def stopping(peer: Peer) -> None:
        await peer.begin()
        stream = await peer.request()
        peer.send(response_headers(stream), frame(DATA, 0, stream, tokens(8)), ending(stream))
        await peer.gone()

    seen: list[int] = []
    async with hostile(stopping) as address:
        with pytest.raises(GenerationFailed, match=words):
            await take(connect(address), SHORT, seen)
    assert seen == [8]


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ([(":status", "503")], BackendUnavailable, "HTTP status 503"),
        ([(":status", "404")], GenerationFailed, "is this Triton's gRPC port"),
        ([(":status", "200"), ("content-type", "text/html")], GenerationFailed, "'text/html'"),
        ([("content-type", "application/grpc")], GenerationFailed, "HTTP status none"),
    ],
)
async def test_an_answer_that_is_not_grpc_is_explained(
    connect: Connect, fields: list[tuple[str, str]], error: type[BackendError], words: str
) -> None:
    async def page(peer: Peer) -> None:
        await peer.begin()
        stream = await peer.request()
        peer.send(response_headers(stream, fields), frame(DATA, END_STREAM, stream, b"<html>"))
        await peer.gone()

    async with hostile(page) as address:
        with pytest.raises(error, match=words):
            await ask(connect(address))


async def test_an_answer_that_is_complete_needs_no_trailers(connect: Connect) -> None:
    async def lazy(peer: Peer) -> None:
        await peer.begin()
        stream = await peer.request()
        data = frame(DATA, 0, stream, tokens(8, final=True))
        peer.send(response_headers(stream), data)
        stream = await peer.request()
        # What else comes for the first one is of no interest, and not an error.
        peer.send(frame(DATA, 0, stream - 2, tokens(9)), trailers(stream - 2))
        peer.answer(stream, [4])
        await peer.gone()

    async with hostile(lazy) as address:
        client = connect(address)
        assert await ids(client) == [8]
        assert await ids(client) == [4]


async def test_data_of_a_cancelled_stream_is_ignored_and_counted(
    connect: Connect,
) -> None:
    async def late(peer: Peer) -> None:
        await peer.begin()
        stream = await peer.request()
        peer.send(response_headers(stream), frame(DATA, 0, stream, tokens(8)))
        cancelled = await peer.next(RST_STREAM)
        assert (cancelled.stream, cancelled.code) == (stream, CANCEL)
        later = await peer.request()
        peer.send(frame(DATA, 0, stream, tokens(9)), trailers(stream), reset(stream, 2))
        peer.answer(later, [4])
        await peer.gone()

    async with hostile(late) as address:
        client = connect(address)
        async with aclosing(client.generate(SHORT)) as answer:
            await anext(answer)
        assert client.late_tokens == 0
        assert await ids(client) == [4]
        assert client.late_tokens == 1


async def test_a_client_that_closes_says_goodbye_and_ends_its_streams(connect: Connect) -> None:
    farewell = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.begin()
        stream = await peer.request()
        peer.send(response_headers(stream), frame(DATA, 0, stream, tokens(8)))
        assert (await peer.next(GOAWAY)).code == 0
        farewell.set()

    async with hostile(script) as address:
        client = connect(address)
        async with aclosing(client.generate(SHORT)) as answer:
            await anext(answer)
            await client.close()
            with pytest.raises(BackendUnavailable, match="was closed"):
                await anext(answer)
        await asyncio.wait_for(farewell.wait(), 5)


async def test_used_up_stream_numbers_lead_to_a_new_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.begin()
        peer.answer(await peer.request(), [1])
        await peer.gone()

    async with hostile(script) as address:
        host, _, port = address.rpartition(":")
        connection = Connection(address, Limits(), lambda: None, first_id=2**31 - 1)
        await asyncio.get_running_loop().create_connection(lambda: connection, host, int(port))
        await connection.handshake_done()
        assert connection.usable
        stream = connection.start(b"")
        assert not connection.usable
        assert await stream.receive(5)
        connection.close(BackendUnavailable("done"))


WHOLE = b"".join(
    (
        response_headers(1),
        frame(DATA, 0, 1, tokens(1)),
        frame(DATA, 0, 1, tokens(2, final=True)),
        trailers(1),
    )
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(WHOLE)))
def test_a_server_that_vanishes_at_any_byte_leaves_an_answer_or_an_error(cut: int) -> None:
    async def vanishing(peer: Peer) -> None:
        await peer.begin()
        await peer.request()
        peer.send(WHOLE[:cut])
        await peer.flushed()

    asyncio.run(_ends_well(vanishing))


async def _ends_well(script: Callable[[Peer], object]) -> None:
    from triton.client.http2.conftest import TENSOR_NAMES

    seen: list[int] = []
    async with hostile(script) as address:  # type: ignore[arg-type]
        client = TritonClient(address, "model", tensor_names=TENSOR_NAMES)
        try:
            await take(client, SHORT, seen)
            assert seen == [1, 2]
        except BackendUnavailable:
            assert seen in ([], [1], [1, 2])
        finally:
            await client.close()
