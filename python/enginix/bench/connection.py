"""A connection that timestamps responses when their bytes arrive, before any task wakes.

It is not the client of `backends/`, which wakes a task for the first bytes of a response, and which
is a part of what is measured here: a fault of both would not show.
"""

from __future__ import annotations

import asyncio
import time
from typing import cast

import httptools
import orjson

from enginix.bench.answer import Answer
from enginix.bench.events import EventReader

# Bytes kept of an error response's body: enough for its reason.
MAX_ERROR_BYTES = 4096


class Connection(asyncio.Protocol):
    """HTTP/1.1, one request at a time."""

    def __init__(self) -> None:
        self.reusable = False
        self._transport: asyncio.Transport | None = None
        self._lost: str | None = None
        self._reset()

    def _reset(self) -> None:
        self._answer = Answer()
        self._events = EventReader(self._answer)
        self._parser = httptools.HttpResponseParser(self)
        self._error_body = b""
        self._now = 0.0
        self._done: asyncio.Future[None] | None = None
        self._has_head = self._has_length = False

    @property
    def answered(self) -> bool:
        """Whether any byte of the response arrived."""
        return self._now > 0

    async def ask(self, message: bytes) -> Answer:
        """Send a complete request and return when the response ends; failures are in the Answer."""
        self._reset()
        self.reusable = False
        assert self._transport is not None, "it is connected"
        self._done = asyncio.get_running_loop().create_future()
        self._answer.sent = time.perf_counter()
        if self._lost:
            self._end(self._lost)
        else:
            self._transport.write(message)
        await self._done
        self._answer.ended = self._now or time.perf_counter()
        return self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked: uvloop's transports do not derive from asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._now = time.perf_counter()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(f"the server does not speak HTTP/1.1: {error}")
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.reusable = False
        self._lost = "the server closed the connection"
        if self._done is None or self._done.done():
            return
        if self._has_head and not self._has_length:
            # Without a length, the end of the connection ends the body.
            self.on_message_complete()
            self.reusable = False
        else:
            self._end(f"{self._lost} {'within' if self._has_head else 'before'} its answer")

    # Called by the parser.
    def on_header(self, name: bytes, value: bytes) -> None:
        self._has_length |= name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        self._has_head = self._parser.get_status_code() >= 200

    def on_body(self, body: bytes) -> None:
        if self._parser.get_status_code() == 200:
            self._events.feed(body, self._now)
        elif len(self._error_body) < MAX_ERROR_BYTES:
            self._error_body += body

    def on_message_complete(self) -> None:
        if not self._has_head:
            return
        status = self._parser.get_status_code()
        if status == 200:
            self._events.end()
        self.reusable = self._parser.should_keep_alive()
        self._end(None if status == 200 else f"HTTP {status}: {_reason(self._error_body)}")

    def _end(self, failure: str | None) -> None:
        self._answer.failure = self._answer.failure or failure
        if self._done is not None and not self._done.done():
            self._done.set_result(None)


def _reason(body: bytes) -> str:
    """The message of an OpenAI error, or the body as it is."""
    try:
        error = orjson.loads(body)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, LookupError, TypeError):
        return body[:300].decode(errors="replace").strip() or "no reason given"
