"""A hand-written HTTP/2 server that sends a client whatever a test's script says.

It shares no code with the client. A script gets a `Peer` for each connection:

    async def script(peer):
        await peer.begin()
        stream = await peer.request()
        peer.answer(stream, [1, 2, 3])

    async with hostile(script) as address: ...
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from hpack import Decoder, Encoder
from tritonclient.grpc import service_pb2

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE = range(6)
PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(6, 10)
END_STREAM, ACK, END_HEADERS, PADDED = 0x1, 0x1, 0x4, 0x8

OK_HEADERS = ((":status", "200"), ("content-type", "application/grpc"))


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> int:
        """The error code of a RST_STREAM or GOAWAY frame."""
        return int.from_bytes(self.payload[-4:] if self.kind == RST_STREAM else self.payload[4:8])


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def settings(**values: int) -> bytes:
    numbers = {"table": 1, "push": 2, "streams": 3, "window": 4, "frame": 5}
    pairs = (struct.pack(">HI", numbers[name], value) for name, value in values.items())
    return frame(SETTINGS, 0, 0, b"".join(pairs))


def header_block(fields: Sequence[tuple[str, str]]) -> bytes:
    """Encode headers without the dynamic table, so that blocks may be sent in any order."""
    encoder = Encoder()
    return b"".join(
        encoder.add((*(part.encode() for part in field),), sensitive=True) for field in fields
    )


def grpc_message(content: bytes, compressed: int = 0) -> bytes:
    return bytes((compressed,)) + len(content).to_bytes(4) + content


def tokens(*ids: int, final: bool = False) -> bytes:
    """One response of the model as a gRPC message."""
    response = service_pb2.ModelStreamInferResponse()
    answer = response.infer_response
    answer.model_name = "model"
    answer.outputs.add(name="output_ids", datatype="INT32", shape=[1, 1, len(ids)])
    answer.raw_output_contents.append(struct.pack(f"<{len(ids)}i", *ids))
    answer.parameters["triton_final_response"].bool_param = final
    return grpc_message(response.SerializeToString())


def response_headers(stream: int, fields: Sequence[tuple[str, str]] = OK_HEADERS) -> bytes:
    return frame(HEADERS, END_HEADERS, stream, header_block(fields))


def trailers(stream: int, status: int = 0, message: str = "") -> bytes:
    fields = [("grpc-status", str(status)), *([("grpc-message", message)] if message else [])]
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, header_block(fields))


def whole_answer(stream: int, ids: Sequence[int]) -> bytes:
    """A correct answer: one message and one frame for each id."""
    messages = (tokens(id_, final=id_ == ids[-1]) for id_ in ids)
    data = b"".join(frame(DATA, 0, stream, message) for message in messages)
    return response_headers(stream) + data + trailers(stream)


class Peer:
    """One connection, seen from the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = Decoder()
        self.fields: dict[str, str] = {}

    async def begin(self, greeting: bytes | None = None) -> None:
        """The preface and both sides' SETTINGS."""
        assert await self._reader.readexactly(len(PREFACE)) == PREFACE
        self.send(settings() if greeting is None else greeting)
        assert (await self.next(SETTINGS)).flags == 0
        self.send(frame(SETTINGS, ACK, 0))

    async def read(self) -> Frame:
        """The next frame of the client."""
        head = await self._reader.readexactly(9)
        payload = await self._reader.readexactly(int.from_bytes(head[:3]))
        read = Frame(head[3], head[4], int.from_bytes(head[5:9]), payload)
        if read.kind == HEADERS:
            self.fields = dict(self._decoder.decode(payload))
        return read

    async def next(self, kind: int) -> Frame:
        """The next frame of one kind; all other frames are skipped."""
        while True:
            read = await self.read()
            if read.kind == kind and not (kind in (SETTINGS, PING) and read.flags & ACK):
                return read

    async def request(self) -> int:
        """The stream of the next request that has arrived completely."""
        while True:
            read = await self.next(DATA)
            if read.flags & END_STREAM:
                return read.stream

    async def message(self) -> tuple[int, service_pb2.ModelInferRequest]:
        """The stream and the message of the next request, which one frame holds."""
        read = await self.next(DATA)
        assert read.flags & END_STREAM
        return read.stream, service_pb2.ModelInferRequest.FromString(read.payload[5:])

    def send(self, *frames: bytes) -> None:
        self._writer.write(b"".join(frames))

    async def flushed(self) -> None:
        await self._writer.drain()

    def answer(self, stream: int, ids: Sequence[int]) -> None:
        self.send(whole_answer(stream, ids))

    async def gone(self) -> None:
        """Wait until the client has closed; ignore what it still sends."""
        with suppress(ConnectionError):
            while await self._reader.read(1 << 16):
                pass

    def vanish(self) -> None:
        """Close with a reset."""
        self._writer.transport.abort()

    async def farewell(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


Script = Callable[[Peer], Awaitable[None]]


@asynccontextmanager
async def hostile(*scripts: Script, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """The address of a server: the n-th connection follows the n-th script, the rest the last.

    A script's own failure is raised at the end; that the client left is none.
    """
    failures: list[Exception] = []
    running: set[asyncio.Task[None]] = set()
    waiting = list(scripts)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        script = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        peer = Peer(reader, writer)
        try:
            await script(peer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except Exception as error:
            failures.append(error)
        finally:
            running.discard(task)
            await peer.farewell()

    server = await asyncio.start_server(serve, host, 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    if failures:
        raise failures[0]
