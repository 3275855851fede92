"""uvicorn's HTTP protocol with limits on the request head's size and time."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from enginix.gateway.http.flow import Event, Flow, Pipeline
from enginix.gateway.http.upgrades import UpgradelessParser
from enginix.gateway.http.writing import note_cycle, note_left

HEAD_BYTES = 64 << 10
# From a connection's or request's first byte to the end of its head.
HEAD_SECONDS = 30.0
CHUNKED = b"transfer-encoding: chunked\r\n"


class Unchunked:
    """A transport for HTTP/1.0, which has no chunks and ends a response with its connection.

    uvicorn frames every response without a length; this removes the frames, one per write.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._framed: bool | None = None

    def write(self, data: bytes) -> None:
        if self._framed is None:
            self._framed = CHUNKED in data
            data = data.replace(CHUNKED, b"")
        elif self._framed:
            size, _, rest = data.partition(b"\r\n")
            data = rest[: int(size, 16)]
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's own protocol buffers headers without limit, and drops the body of a request that
    asks for another protocol."""

    # Beside uvicorn's in one dictionary they would be too many for CPython to share its keys
    # between connections, which takes 1.3 KB more for each.
    __slots__ = ("_head_bytes", "_head_timer", "_unanswered")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser: UpgradelessParser = UpgradelessParser(self)  # type: ignore[assignment]
        self.pipeline = Pipeline()  # type: ignore[assignment]
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        # A list: nearly always empty, and an empty deque takes 0.7 KB.
        self._unanswered: list[RequestResponseCycle] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = Flow(transport)  # type: ignore[assignment]
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        self.parser.close()
        super().connection_lost(exc)
        for cycle in self._unanswered:
            cycle.disconnected = True
            cycle.message_event.set()
        for cycle in (*self._unanswered, *([self.cycle] if self.cycle else [])):
            note_left(cycle)
        self._unanswered.clear()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
                self._end_head()
                self.send_400_response(f"The head of a request may have {HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._head_timer is None:
            self._begin_head()

    def on_headers_complete(self) -> None:
        self._end_head()
        before = self.cycle
        super().on_headers_complete()
        # Its task has not begun.
        self.cycle.message_event = Event()  # type: ignore[assignment]
        if self.scope["http_version"] == "1.0":
            self.cycle.transport = Unchunked(self.transport)  # type: ignore[assignment]
            # It would read "100 Continue" as the answer.
            self.cycle.waiting_for_100_continue = False
        note_cycle(self.cycle)
        # uvicorn reports a disconnect to the newest request only, not to earlier ones.
        if before is not None and not before.response_complete:
            self._unanswered.append(before)
        while self._unanswered and self._unanswered[0].response_complete:
            del self._unanswered[0]

    def send_400_response(self, msg: str) -> None:
        # Amid another answer it would be read as a part of that.
        if any(
            each is not None and each.response_started and not each.response_complete
            for each in (*self._unanswered, self.cycle)
        ):
            self.transport.close()
        else:
            super().send_400_response(msg)

    def _begin_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _end_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
