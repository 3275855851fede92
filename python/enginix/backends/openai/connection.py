"""One HTTP/1.1 connection and its current response, to read or to pipe on as it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any, cast

import httptools

from enginix.errors import BackendError, BackendTimedOut, BackendUnavailable, SafeToRetry

# Passes a chunk on.
Pending = Coroutine[Any, Any, None]
PassOn = Callable[[bytes], Pending | None]

# Unread bytes above which reading pauses, so that the server has to wait.
MAX_WAITING = 256 << 10
MAX_ERROR_BYTES = 64 << 10


class Connection(asyncio.Protocol):
    """One connection, and its current response."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.closed = False
        self._lost: str | None = None
        self._late = False
        self.heard = 0.0
        """When its last bytes came, by the event loop's clock."""
        self._silence: float | None = None
        """How many seconds it may be silent; None while nobody waits for its bytes."""
        self._timer: asyncio.TimerHandle | None = None
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: dict[str, str] = {}
        self._headers_complete = self._complete = self._keep = False
        self._bounded = self._unrequested = False
        self._chunks: list[bytes] = []
        self._waiting = 0
        self._paused = False
        self._changed: asyncio.Future[None] | None = None
        self._pass_on: PassOn | None = None
        self._left: tuple[Pending, Any] | None = None
        self._failed: BaseException | None = None

    @property
    def reusable(self) -> bool:
        return self._complete and self._keep and not (self.closed or self._unrequested)

    @property
    def complete(self) -> bool:
        """Whether all of the response has arrived."""
        return self._complete

    async def send(self, message: bytes) -> None:
        """Send a request; return when the response's headers have arrived."""
        self._begin()
        assert self._transport is not None, "it is connected"
        self._transport.write(message)
        while not self._headers_complete:
            if self._lost is not None:
                raise self._gone(SafeToRetry, "before it answered")
            self._changed = self._loop.create_future()
            await self._changed

    async def chunk(self) -> bytes:
        """All of the body that has arrived; empty at its end. Raises BackendUnavailable.

        Called for every token, so it is no generator, which would cost as much again.
        """
        while not self._chunks:
            if self._complete:
                return b""
            if self._lost is not None:
                raise self._gone(BackendUnavailable, "in the middle of its answer")
            self._changed = self._loop.create_future()
            await self._changed
        return self._take()

    async def first_bytes(self) -> None:
        """Return when the body's first bytes are here, or its end. Raises BackendUnavailable."""
        while not (self._chunks or self._complete):
            if self._lost is not None:
                raise self._gone(SafeToRetry, "before it answered")
            self._changed = self._loop.create_future()
            await self._changed

    async def pipe(self, pass_on: PassOn) -> None:
        """Pass on the whole body, chunk by chunk as it comes. Raises BackendUnavailable.

        `pass_on` runs where the chunk was read, without waking this task, which handles only the
        end and a `pass_on` that has to wait. The server waits with it.
        """
        while True:
            if self._left is not None:
                left, self._left = self._left, None
                await resume(*left)
            elif self._failed is not None:
                raise self._failed
            elif self._chunks:
                if (pending := pass_on(self._take())) is not None:
                    await pending
            elif self._complete:
                return
            elif self._lost is not None:
                raise self._gone(BackendUnavailable, "in the middle of its answer")
            else:
                self._pass_on = pass_on
                self._changed = self._loop.create_future()
                try:
                    await self._changed
                except BaseException:
                    self._drop_left()
                    raise
                finally:
                    self._pass_on = None

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises BackendUnavailable above `limit` bytes."""
        body = await self.read_some(limit + 1)
        if len(body) > limit:
            raise BackendUnavailable(f"{self._name} sent more than {limit >> 20} MB as one answer")
        return body

    async def read_error(self) -> bytes:
        """The first MAX_ERROR_BYTES of the body."""
        return await self.read_some(MAX_ERROR_BYTES)

    async def read_some(self, limit: int) -> bytes:
        """The first `limit` bytes of the body."""
        chunks: list[bytes] = []
        size = 0
        while size < limit and (chunk := await self.chunk()):
            chunks.append(chunk)
            size += len(chunk)
        return b"".join(chunks)[:limit]

    def watch(self, silence: float) -> None:
        """Abandon the response after `silence` seconds without a byte.

        One timer looks now and then, at this response and at the next ones: setting one for every
        token, or for every response, would cost more.
        """
        self._silence, self.heard = silence, self._loop.time()
        self._look_by(self.heard + silence)

    def unwatch(self) -> None:
        self._silence = None

    def _look_by(self, due: float) -> None:
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._silence is None:
            return
        if self._chunks or self._left is not None:
            # The reader is slow, not the server.
            self.heard = self._loop.time()
        due = self.heard + self._silence
        if due > self._loop.time():
            self._look_by(due)
            return
        self._late, self._lost = True, f"sent nothing for {self._silence:g} s"
        self.close()
        self._wake()

    def _gone(self, kind: type[BackendError], when: str) -> BackendError:
        kind = BackendTimedOut if self._late else kind
        return kind(f"{self._name} {self._lost} {when}")

    def close(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Unchecked: uvloop's transports do not derive from asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.heard = self._loop.time()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._lost = f"does not speak HTTP ({error})"
            self.close()
        if self._pass_on is None:
            self._wake()
        elif self._chunks and not self._pipe_chunk(self._pass_on):
            self._pass_on = None
            self._wake()
        elif self._complete or self._lost is not None:
            self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        # It refers to this connection, which would wait for the collector.
        del self._parser
        if not self._complete and self._lost is None:
            if self._headers_complete and not self._bounded:
                # Without a length, the end of the connection is the end of the body.
                self._complete = True
            else:
                self._lost = "closed the connection"
        self._wake()

    # The parser calls these.
    def on_message_begin(self) -> None:
        # An unrequested response must not count as the next request's.
        self._unrequested = self._complete
        self.headers.clear()
        self._bounded = False

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.decode("latin-1").lower()
        self.headers[key] = value.decode("latin-1")
        self._bounded |= key in ("content-length", "transfer-encoding")

    def on_headers_complete(self) -> None:
        if not self._unrequested:
            self.status = self._parser.get_status_code()
            self._headers_complete = self.status >= 200

    def on_body(self, body: bytes) -> None:
        if self._unrequested:
            return
        self._chunks.append(body)
        self._waiting += len(body)
        if self._waiting > MAX_WAITING and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._headers_complete:
            self._complete = True
            self._keep = self._parser.should_keep_alive()

    def _pipe_chunk(self, pass_on: PassOn) -> bool:
        """Whether the chunk was passed on; otherwise `pipe` continues."""
        try:
            pending = pass_on(self._take())
            if pending is not None:
                self._left = (pending, pending.send(None))
                return False
        except StopIteration:
            pass
        except Exception as error:
            self._failed = error
            return False
        return True

    def _drop_left(self) -> None:
        left, self._left = self._left, None
        if left is not None:
            left[0].close()

    def _take(self) -> bytes:
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._waiting = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return body

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)


@coroutine
def resume(pending: Pending, waits_for: Any) -> Generator[Any, Any, None]:
    """Continue a waiting coroutine that was started outside any task."""
    try:
        yield waits_for
    except BaseException:
        pending.close()
        raise
    yield from pending.__await__()
