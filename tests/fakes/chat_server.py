"""An OpenAI server on a real socket that sends what a test scripts.

It has /v1/chat/completions and whatever else is put into `routes`; all other routes are missing,
as they are from FastAPI.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

Asked = dict[str, Any]
Answer = bytes | Sequence[bytes]
"""One document, or the events of a stream."""

CHAT = "/v1/chat/completions"
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
DONE = b"data: [DONE]\n\n"


class ChatServer:
    def __init__(self, events: Sequence[bytes] = ()) -> None:
        self.routes: dict[str, Callable[[Asked], Answer]] = {CHAT: lambda _: events}
        self.status = 200
        self.stays_after: int | None = None
        """Send this many events, and then nothing more."""
        self.breaks_off = False
        self.asked: list[tuple[str, Asked]] = []
        self.connections = 0
        self.running = 0
        self.began = asyncio.Event()
        self.left = asyncio.Event()
        self.left_at = 0.0
        self._writers: set[asyncio.StreamWriter] = set()

    def asked_at(self, path: str) -> list[Asked]:
        return [body for where, body in self.asked if where == path]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                _, path, _ = head.split(" ", 2)
                length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
                asked = json.loads(await reader.readexactly(length) or b"{}")
                self.asked.append((path, asked))
                await self._answer(path, asked, writer, reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def close(self) -> None:
        """Close every connection, and wait until they are closed."""
        writers = list(self._writers)
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)

    async def _answer(
        self, path: str, asked: Asked, writer: asyncio.StreamWriter, reader: asyncio.StreamReader
    ) -> None:
        route = self.routes.get(path)
        if route is None:
            write_document(writer, 404, b'{"detail":"Not Found"}')
            return
        self.running += 1
        self.began.set()
        try:
            answer = route(asked)
            if isinstance(answer, bytes):
                write_document(writer, self.status, answer)
            else:
                await self._stream(answer, writer, reader)
        finally:
            self.running -= 1

    async def _stream(
        self, events: Sequence[bytes], writer: asyncio.StreamWriter, reader: asyncio.StreamReader
    ) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
        writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
        for place, event in enumerate(events):
            if place == self.stays_after:
                await self._wait_until_left(reader)
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
        if self.breaks_off:
            writer.transport.abort()
            raise ConnectionResetError
        writer.write(b"0\r\n\r\n")

    async def _wait_until_left(self, reader: asyncio.StreamReader) -> None:
        try:
            await reader.read(1)
        finally:
            self.left_at = asyncio.get_running_loop().time()
            self.left.set()
        raise ConnectionResetError


@asynccontextmanager
async def chat_server(events: Sequence[bytes] = ()) -> AsyncIterator[tuple[ChatServer, str]]:
    """The server and its address, in this event loop."""
    stand_in = ChatServer(events)
    listening = await asyncio.start_server(stand_in.serve, "127.0.0.1", 0)
    try:
        yield stand_in, f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        await stand_in.close()


def write_document(writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
    writer.write(
        b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (status, len(body), body)
    )


def chunk(delta: Any, reason: str | None = None, index: int = 0, **more: Any) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": reason, **more}
    return event({"id": "x", "model": "models/Their-30B", "choices": [choice]})


def event(data: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps(data).encode()


def completion(*deltas: Any, reason: str = "stop", usage: Any = USAGE, **last: Any) -> list[bytes]:
    """The events of one whole answer."""
    return [
        chunk({"role": "assistant", "content": ""}),
        *(chunk(delta) for delta in deltas),
        chunk({}, reason, **last),
        *([event({"choices": [], "usage": usage})] if usage else []),
        DONE,
    ]


def texts(*pieces: str) -> list[dict[str, str]]:
    return [{"content": piece} for piece in pieces]
