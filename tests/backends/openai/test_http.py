"""The HTTP/1.1 client for streams of tokens, against servers that say it in every way there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from enginix.backends.openai.connection import MAX_WAITING, Connection
from enginix.backends.openai.http import HttpClient
from enginix.errors import BackendTimedOut, BackendUnavailable

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = OK + b"Content-Length: 6\r\n\r\nabcdef"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3;x=y\r\ndef\r\n0\r\n\r\n"
CLOSED = OK + b"\r\nabcdef"


class Raw:
    """Answers every request with the next bytes it was given; None closes the connection."""

    def __init__(self, answers: Sequence[bytes | None]) -> None:
        self.answers = list(answers)
        self.connections = 0
        self.written = 0
        self.closed = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while self.answers:
                await reader.readuntil(b"\r\n\r\n")
                answer = self.answers.pop(0)
                if answer is None:
                    break
                for start in range(0, len(answer), 1 << 16):
                    writer.write(answer[start : start + (1 << 16)])
                    await writer.drain()
                    self.written = start
                if answer == CLOSED:
                    break
            else:
                await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.closed.set()
            writer.close()

    async def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(
            *(writer.wait_closed() for writer in self._writers), return_exceptions=True
        )


@asynccontextmanager
async def server(*answers: bytes | None) -> AsyncIterator[tuple[Raw, HttpClient]]:
    raw = Raw(answers)
    listening = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
    client = HttpClient(
        f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", name="the server"
    )
    try:
        yield raw, client
    finally:
        await client.close()
        listening.close()
        await raw.close()


async def poured(connection: Connection) -> bytes:
    pieces: list[bytes] = []
    await connection.pipe(lambda piece: pieces.append(piece))  # type: ignore[func-returns-value]
    return b"".join(pieces)


@pytest.mark.parametrize(
    ("answer", "kept"),
    [(LENGTH, True), (CHUNKED, True), (CLOSED, False)],
    ids=["length", "chunks", "until it closes"],
)
@pytest.mark.parametrize("poured_out", [True, False])
async def test_a_body_ends_where_the_server_says(
    answer: bytes, kept: bool, poured_out: bool
) -> None:
    async with server(answer, LENGTH) as (raw, client):
        for _ in range(2):
            async with client.request("POST", "/") as got:
                body = await (poured(got) if poured_out else got.read(1000))
                assert (got.status, body) == (200, b"abcdef")
    assert raw.connections == (1 if kept else 2)


@pytest.mark.parametrize("answer", [LENGTH, CHUNKED], ids=["length", "chunks"])
async def test_an_answer_may_be_cut_anywhere(answer: bytes) -> None:
    transport = Transport()
    for place in range(1, len(answer)):
        connection = Connection("the server")
        connection.connection_made(transport)
        asking = asyncio.ensure_future(connection.send(b""))
        await asyncio.sleep(0)
        connection.data_received(answer[:place])
        connection.data_received(answer[place:])
        await asking
        assert await poured(connection) == b"abcdef"
        assert connection.reusable


class Transport(asyncio.Transport):
    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def abort(self) -> None:
        pass


async def test_a_connection_is_kept_after_an_error_that_was_read() -> None:
    refusal = b"HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\nno"
    async with server(refusal, LENGTH) as (raw, client):
        async with client.request("POST", "/") as answer:
            assert (answer.status, await answer.read_error()) == (400, b"no")
        async with client.request("POST", "/") as answer:
            assert await answer.read(10) == b"abcdef"
    assert raw.connections == 1


async def test_an_interim_answer_is_not_the_answer() -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nX-A: 1\r\nContent-Length: 9\r\n\r\n"
    async with (
        server(interim.replace(b"Content-Length: 9\r\n", b"") + LENGTH) as (_, client),
        client.request("POST", "/") as answer,
    ):
        assert (answer.status, await answer.read(10)) == (200, b"abcdef")
        assert "x-a" not in answer.headers


async def test_what_a_server_says_unasked_is_never_the_next_answer() -> None:
    forged = OK + b"Content-Length: 6\r\n\r\nforged"
    async with server(LENGTH + forged, LENGTH) as (raw, client):
        for _ in range(2):
            async with client.request("POST", "/") as answer:
                assert await answer.read(10) == b"abcdef"
    assert raw.connections == 2


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (OK + b"Content-Length: 9\r\n\r\nabc", "closed the connection in the middle"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "closed the connection"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "does not speak HTTP"),
    ],
    ids=["too short", "no last chunk", "no chunk"],
)
@pytest.mark.parametrize("poured_out", [True, False])
async def test_a_body_that_breaks_off_is_no_body(
    broken: bytes, words: str, poured_out: bool
) -> None:
    async with server(broken, None) as (raw, client):
        with pytest.raises(BackendUnavailable, match=words):
            async with client.request("POST", "/") as answer:
                await asyncio.gather(
                    raw.close(), poured(answer) if poured_out else answer.read(1000)
                )


async def test_an_answer_beyond_the_limit_is_refused_and_not_cut() -> None:
    long = OK + b"Content-Length: 3000000\r\n\r\n" + b"x" * 3_000_000
    async with server(long) as (_, client), client.request("POST", "/") as answer:
        with pytest.raises(BackendUnavailable, match="more than 1 MB as one answer"):
            await answer.read(1 << 20)


async def test_a_very_long_answer_is_read_whole() -> None:
    long = OK + b"Content-Length: 30000000\r\n\r\n" + b"x" * 30_000_000
    async with server(long) as (_, client), client.request("POST", "/") as answer:
        assert len(await answer.read(64 << 20)) == 30_000_000


async def test_a_reader_that_has_to_wait_makes_the_server_wait_and_loses_nothing() -> None:
    body = b"".join(b"%07d," % number for number in range(1 << 20))
    gate = asyncio.Event()
    async with server(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body) as (raw, client):
        pieces: list[bytes] = []

        async def take(piece: bytes) -> None:
            if not gate.is_set():
                stuck.set()
            await gate.wait()
            pieces.append(piece)

        stuck = asyncio.Event()
        async with client.request("POST", "/") as answer:
            pouring = asyncio.ensure_future(answer.pipe(take))
            await stuck.wait()
            before = -1
            while before < raw.written:
                before = raw.written
                for _ in range(50):
                    await asyncio.sleep(0)
            # What the sockets hold, and not the rest.
            assert raw.written < len(body) - MAX_WAITING
            gate.set()
            await pouring
    assert b"".join(pieces) == body


async def test_who_stops_pouring_while_it_waits_leaves_nothing_behind() -> None:
    released = asyncio.Event()
    stuck = asyncio.Event()

    async def take(piece: bytes) -> None:
        try:
            stuck.set()
            await asyncio.Event().wait()
        finally:
            released.set()

    async with server(OK + b"Content-Length: 9\r\n\r\nabc") as (raw, client):
        async with client.request("POST", "/") as answer:
            pouring = asyncio.ensure_future(answer.pipe(take))
            await stuck.wait()
            pouring.cancel()
            await asyncio.wait({pouring})
            assert released.is_set()
        await asyncio.wait_for(raw.closed.wait(), 5)


async def test_what_goes_wrong_while_passing_on_is_raised_where_it_is_waited_for() -> None:
    def take(piece: bytes) -> None:
        raise ValueError("no")

    async with server(CHUNKED) as (_, client):
        with pytest.raises(ValueError, match="no"):
            async with client.request("POST", "/") as answer:
                await answer.pipe(take)


@asynccontextmanager
async def begun(length: int) -> AsyncIterator[Connection]:
    """A connection whose answer has begun, for bytes to be put in by hand."""
    connection = Connection("the server")
    connection.connection_made(Transport())
    asking = asyncio.ensure_future(connection.send(b""))
    await asyncio.sleep(0)
    connection.data_received(OK + b"Content-Length: %d\r\n\r\n" % length)
    await asking
    yield connection


async def test_a_piece_is_passed_on_in_the_read_that_brought_it() -> None:
    taken: list[bytes] = []
    async with begun(4) as connection:
        pouring = asyncio.ensure_future(connection.pipe(taken.append))
        await asyncio.sleep(0)
        connection.data_received(b"ab")
        assert taken == [b"ab"]
        connection.data_received(b"cd")
        assert taken == [b"ab", b"cd"]
        await pouring


async def test_pieces_keep_their_order_when_one_of_them_has_to_wait() -> None:
    taken: list[bytes] = []
    gate = asyncio.Event()

    async def take(piece: bytes) -> None:
        await gate.wait()
        taken.append(piece)

    async with begun(6) as connection:
        pouring = asyncio.ensure_future(connection.pipe(take))
        await asyncio.sleep(0)
        connection.data_received(b"ab")
        connection.data_received(b"cd")
        await asyncio.sleep(0)
        connection.data_received(b"ef")
        assert taken == []
        gate.set()
        await pouring
    assert b"".join(taken) == b"abcdef"


@pytest.mark.parametrize("steps", [0, 1, 2])
async def test_leaving_ends_a_passing_on_that_waits(steps: int) -> None:
    ended: list[bytes] = []

    async def take(piece: bytes) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(piece)

    async with begun(6) as connection:
        pouring = asyncio.ensure_future(connection.pipe(take))
        await asyncio.sleep(0)
        connection.data_received(b"ab")
        for _ in range(steps):
            await asyncio.sleep(0)
        pouring.cancel()
        await asyncio.wait({pouring})
    assert ended == [b"ab"]
    assert pouring.cancelled()


async def test_a_failure_in_the_read_is_raised_by_whoever_pours() -> None:
    def take(piece: bytes) -> None:
        raise ValueError(piece.decode())

    async with begun(6) as connection:
        pouring = asyncio.ensure_future(connection.pipe(take))
        await asyncio.sleep(0)
        connection.data_received(b"ab")
        with pytest.raises(ValueError, match="ab"):
            await pouring


async def test_a_server_that_goes_on_sending_is_not_silent_however_long_it_takes() -> None:
    async with begun(40) as connection:
        connection.watch(0.1)
        loop = asyncio.get_running_loop()
        for number in range(10):
            loop.call_later(0.03 * number, connection.data_received, b"abcd")
        assert await poured(connection) == b"abcd" * 10
        connection.unwatch()


async def test_a_reader_that_takes_its_time_is_not_the_servers_silence() -> None:
    gate = asyncio.Event()
    taken: list[bytes] = []

    async def take(piece: bytes) -> None:
        await gate.wait()
        taken.append(piece)

    async with begun(4) as connection:
        connection.watch(0.02)
        pouring = asyncio.ensure_future(connection.pipe(take))
        await asyncio.sleep(0)
        connection.data_received(b"ab")
        connection.data_received(b"cd")
        asyncio.get_running_loop().call_later(0.1, gate.set)
        await pouring
        connection.unwatch()
    assert b"".join(taken) == b"abcd"


async def test_a_kept_connection_may_be_silent_until_its_next_request() -> None:
    async with begun(4) as connection:
        connection.watch(0.02)
        connection.data_received(b"abcd")
        assert await poured(connection) == b"abcd"
        connection.unwatch()
        later = asyncio.Event()
        # After the timer of the response that is over, which was set before.
        asyncio.get_running_loop().call_later(0.02, later.set)
        await later.wait()
        assert connection.reusable


async def test_a_second_response_is_watched_as_closely_as_the_first() -> None:
    async with begun(8) as connection:
        connection.watch(30)
        connection.unwatch()
        connection.watch(0.02)
        with pytest.raises(BackendTimedOut, match=r"sent nothing for 0\.02 s"):
            await poured(connection)
