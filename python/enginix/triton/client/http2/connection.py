"""One HTTP/2 connection to one server: its streams, the protocol's rules, and closing."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from enginix.errors import BackendError, BackendUnavailable, ProtocolBroken, SafeToRetry
from enginix.generation.limits import Limits
from enginix.generation.request import Headers
from enginix.triton.client.deadline import Deadlines
from enginix.triton.client.http2.frames import (
    ACK,
    CANCEL,
    CONTINUATION,
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    ID_MASK,
    LARGEST,
    NO_ERROR,
    PING,
    PREFACE,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    error_name,
    frame,
    require_size,
    rst_stream,
    unpadded,
    window_update,
    without_priority,
)
from enginix.triton.client.http2.headers import (
    MAX_HEADER_BYTES,
    Fields,
    HeaderReader,
    is_interim,
    metadata_block,
    outcome,
    refusal,
    request_blocks,
)
from enginix.triton.client.http2.heartbeat import Heartbeat
from enginix.triton.client.http2.outbox import Outbox
from enginix.triton.client.http2.receiver import CONNECTION_WINDOW, Receiver
from enginix.triton.client.http2.settings import PeerSettings, client_settings
from enginix.triton.client.http2.stream import Stream

logger = logging.getLogger(__name__)

# Bytes of replies we queue for a server that sends requests but does not read.
MAX_QUEUED_BYTES = 1 << 20
# How long sending GOAWAY to a server may take.
FLUSH_SECONDS = 1.0
# How long a model may take to end a request that it was told to stop.
STOP_SECONDS = 1.0


@dataclass(slots=True)
class Late:
    """Counts messages that arrived for cancelled streams; one message is one token."""

    messages: int = 0


class Connection(asyncio.Protocol):
    """Carries many streams; calls `changed` when it may have capacity again, or has closed."""

    def __init__(
        self,
        server: str,
        limits: Limits,
        changed: Callable[[], None],
        *,
        late: Late | None = None,
        first_id: int = 1,
    ) -> None:
        self.server = server
        self._late = late or Late()
        self._limits = limits
        self._changed = changed
        self._next_id = first_id
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._handshake: asyncio.Future[None] = self._loop.create_future()
        self._settings = PeerSettings()
        self._streams: dict[int, Stream] = {}
        self.deadlines = Deadlines(self._streams.values())
        self._draining = False
        self._reading = False
        # Streams to continue when what is being read has been split into frames.
        self.woken: list[Stream] = []
        self._replies = bytearray()
        self._outbox = Outbox(self._write)
        self._receiver = Receiver(self._on_frame, self._write)
        self._blocks = request_blocks(server)
        self._headers = HeaderReader()
        # An incomplete header block: its stream, whether it ends the stream, the DATA readers.
        self._block: tuple[int, int, dict[int, Stream]] | None = None
        self._heartbeat = Heartbeat(
            ping=self._ping,
            dead=self._frozen,
            silence=limits.silence,
            patience=limits.patience,
        )
        self._handlers: dict[int, Callable[[int, int, bytes], None]] = {
            DATA: self._on_data,
            HEADERS: self._on_headers,
            CONTINUATION: self._on_continuation,
            RST_STREAM: self._on_rst_stream,
            SETTINGS: self._on_settings,
            PUSH_PROMISE: self._on_push_promise,
            PING: self._on_ping,
            GOAWAY: self._on_goaway,
            WINDOW_UPDATE: self._on_window_update,
        }

    # Called by the rest of the transport.

    async def handshake_done(self) -> None:
        """Return when the server has proved that it speaks HTTP/2."""
        await self._handshake

    @property
    def usable(self) -> bool:
        """Whether new requests may use it at all, now or after others have ended."""
        alive = self._transport is not None and not self._draining
        return alive and self._handshake.done() and self._next_id <= LARGEST

    @property
    def has_capacity(self) -> bool:
        return len(self._streams) < self._settings.max_concurrent_streams

    def start(self, message: bytes, metadata: Headers = ()) -> Stream:
        """Open a stream with one message."""
        number = self._next_id
        self._next_id += 2
        stream = Stream(self, number, self._limits.window_bytes, self._limits.max_message_bytes)
        if not self._streams:
            self._heartbeat.start()
        self._streams[number] = stream
        block = next(self._blocks)
        if metadata:
            block += metadata_block(metadata)
        head = frame(HEADERS, END_HEADERS, number, block)
        self._outbox.send(number, head, b"\0" + len(message).to_bytes(4, "big") + message)
        return stream

    def reset(self, stream: Stream, code: int) -> None:
        """End a stream from this side; a no-op if it has already ended."""
        if stream.number in self._streams:
            self._write(rst_stream(stream.number, code))
            self._forget(stream)

    def ignore(self, stream: Stream) -> None:
        """Drop further DATA of a stream that the server is about to end."""
        self._receiver.receiving.pop(stream.number, None)

    def leave(self, stream: Stream, stop: bytes | None) -> None:
        """End a stream that nobody reads any more: by the message `stop` if that can be sent.

        A Triton before 25.03 may crash when a stream is cancelled in the moment in which its
        request ends (its issue 8034): about once in a thousand times.
        """
        if stream.number not in self._streams:
            return
        unsent = self._outbox.drop(stream.number)
        if stop is None or unsent or not self.usable or not self.has_capacity:
            self.reset(stream, CANCEL)
            return
        stream.release(STOP_SECONDS)
        self.start(stop).release(STOP_SECONDS)

    def wake(self, stream: Stream) -> None:
        """Continue a stream's reader, with all that one read has brought for it."""
        if self._reading:
            self.woken.append(stream)
        else:
            stream.arrive()

    def restore_window(self, stream: Stream, credit: int) -> None:
        if stream.number in self._streams:
            self._write(window_update(stream.number, credit))

    def retire(self) -> None:
        """Accept no new requests; close when the running ones have ended."""
        self._draining = True
        if not self._streams:
            self.close(BackendUnavailable(f"the connection to {self.server} was closed"))

    def close(self, why: BackendError, code: int = NO_ERROR) -> None:
        """Send GOAWAY, and end every stream with `why`."""
        if self._transport is None:
            return
        self._write(frame(GOAWAY, 0, 0, bytes(4) + code.to_bytes(4, "big")))
        transport, self._transport = self._transport, None
        transport.close()
        # A server that does not read would keep the unsent bytes and the socket for ever.
        self._loop.call_later(FLUSH_SECONDS, transport.abort)
        self._end_streams(why)

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports derive from no asyncio class.
        self._transport = cast(asyncio.Transport, transport)
        settings = client_settings(self._limits.window_bytes, MAX_HEADER_BYTES)
        self._write(PREFACE + settings + window_update(0, CONNECTION_WINDOW - DEFAULT_WINDOW))

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        self._heartbeat.last_read = self._loop.time()
        self._reading = True
        try:
            self._receiver.feed(data)
            if self._replies:
                self._send_replies()
        except ProtocolBroken as error:
            self.close(self._explained(error, data), error.code)
        self._reading = False
        if self.woken:
            woken, self.woken = self.woken, []
            for stream in woken:
                stream.arrive()

    def connection_lost(self, error: Exception | None) -> None:
        if self._transport is None:
            return
        self._transport = None
        number = getattr(error, "errno", None)
        how = os.strerror(number) if number else "it closed the connection"
        text = f"lost Triton at {self.server}: {how}"
        self._end_streams(BackendUnavailable(text), unanswered=SafeToRetry(text))

    def pause_writing(self) -> None:
        self._outbox.paused = True

    def resume_writing(self) -> None:
        self._outbox.resume()

    # Frames.

    def _on_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if not self._handshake.done() and kind != SETTINGS:
            raise ProtocolBroken("the first frame is not SETTINGS", PROTOCOL_ERROR)
        if self._block and (kind != CONTINUATION or stream_id != self._block[0]):
            raise ProtocolBroken("a frame of another stream inside a header block", PROTOCOL_ERROR)
        handler = self._handlers.get(kind)
        # RFC 9113: ignore unknown frame types; PRIORITY is deprecated.
        if handler is not None:
            handler(flags, stream_id, payload)

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        stream = self._open_stream(stream_id, "DATA")
        if stream is None:
            self._late.messages += bool(payload)
            return
        if not stream.answered:
            raise ProtocolBroken("DATA before HEADERS", PROTOCOL_ERROR)
        if stream.released:
            stream.late_messages += bool(payload)
        else:
            content = unpadded(payload, flags)
            stream.padding(len(payload) - len(content))
            stream.data(content, 0, len(content))
        # Refusing a message has already ended the stream.
        if flags & END_STREAM and stream_id in self._streams:
            self._finish(stream, outcome({}, self.server))

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._open_stream(stream_id, "HEADERS")
        self._block = (stream_id, flags & END_STREAM, self._receiver.receiving)
        self._receiver.receiving = {}
        fragment = without_priority(unpadded(payload, flags), flags)
        self._on_continuation(flags, stream_id, fragment)

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is None:
            raise ProtocolBroken("CONTINUATION without HEADERS", PROTOCOL_ERROR)
        self._headers.feed(payload)
        if flags & END_HEADERS:
            _, ends, self._receiver.receiving = self._block
            self._block = None
            # Decode it even without a reader: the compression table must stay in step.
            fields = self._headers.finish()
            stream = self._streams.get(stream_id)
            if stream is not None:
                self._on_fields(stream, fields, bool(ends))

    def _on_fields(self, stream: Stream, fields: Fields, ends: bool) -> None:
        if stream.answered:
            if not ends:
                raise ProtocolBroken("HEADERS between DATA frames", PROTOCOL_ERROR)
            self._finish(stream, outcome(fields, self.server))
        elif not is_interim(fields):
            stream.answered = True
            refused = refusal(fields, self.server)
            if ends:
                self._finish(stream, refused or outcome(fields, self.server))
            elif refused is not None:
                self.reset(stream, CANCEL)
                stream.end(refused)
            elif not stream.released:
                self._receiver.receiving[stream.number] = stream

    def _on_rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:
        require_size(payload, 4, "RST_STREAM")
        stream = self._open_stream(stream_id, "RST_STREAM")
        if stream is None:
            return
        code = int.from_bytes(payload, "big")
        text = f"Triton at {self.server} reset the stream: {error_name(code)}"
        self._forget(stream)
        stream.end(SafeToRetry(text) if code == REFUSED_STREAM else BackendUnavailable(text))

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._require_connection(stream_id, "SETTINGS")
        if flags & ACK:
            require_size(payload, 0, "SETTINGS acknowledgement")
            return
        self._settings = self._settings.updated(payload)
        self._outbox.settings(self._settings)
        self._reply(frame(SETTINGS, ACK, 0))
        if not self._handshake.done():
            self._handshake.set_result(None)
        self._changed()

    def _on_push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise ProtocolBroken("PUSH_PROMISE, although push is disabled", PROTOCOL_ERROR)

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._require_connection(stream_id, "PING")
        require_size(payload, 8, "PING")
        if not flags & ACK:
            self._reply(frame(PING, ACK, 0, payload))

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._require_connection(stream_id, "GOAWAY")
        if len(payload) < 8:
            raise ProtocolBroken(f"a GOAWAY frame of {len(payload)} bytes", FRAME_SIZE_ERROR)
        last = int.from_bytes(payload[:4], "big") & ID_MASK
        code = int.from_bytes(payload[4:8], "big")
        text = f"Triton at {self.server} sent GOAWAY: {error_name(code)}"
        if code != NO_ERROR:
            logger.warning("%s %s", text, payload[8:200].decode("utf-8", "replace"))
        for stream in [one for one in self._streams.values() if one.number > last]:
            self._forget(stream)
            stream.end(SafeToRetry(text))
        self.retire()
        self._changed()

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        require_size(payload, 4, "WINDOW_UPDATE")
        credit = int.from_bytes(payload, "big") & ID_MASK
        if credit == 0:
            raise ProtocolBroken("a WINDOW_UPDATE of 0 bytes", PROTOCOL_ERROR)
        if stream_id == 0 or self._open_stream(stream_id, "WINDOW_UPDATE") is not None:
            self._outbox.credit(stream_id, credit)

    def _open_stream(self, stream_id: int, kind: str) -> Stream | None:
        """None for a stream that has ended; a frame for one that was never opened is an error."""
        stream = self._streams.get(stream_id)
        if stream is None and (stream_id % 2 == 0 or stream_id >= self._next_id):
            raise ProtocolBroken(f"{kind} for stream {stream_id}, never opened", PROTOCOL_ERROR)
        return stream

    def _require_connection(self, stream_id: int, kind: str) -> None:
        if stream_id:
            raise ProtocolBroken(f"{kind} on stream {stream_id}", PROTOCOL_ERROR)

    # Ending streams.

    def _finish(self, stream: Stream, failure: BackendError | None) -> None:
        """The server has ended a stream."""
        if self._outbox.drop(stream.number):
            # The server does not want the rest of the request.
            self._write(rst_stream(stream.number, CANCEL))
        self._forget(stream)
        stream.end(failure)

    def _forget(self, stream: Stream) -> None:
        del self._streams[stream.number]
        # The last is the end, of a stream that was left as of any other.
        self._late.messages += max(0, stream.late_messages - 1)
        self._receiver.receiving.pop(stream.number, None)
        if self._block is not None:
            self._block[2].pop(stream.number, None)
        self._outbox.drop(stream.number)
        if not self._streams:
            self._heartbeat.stop()
            if self._draining:
                self.retire()
        self._changed()

    def _end_streams(self, why: BackendError, unanswered: BackendError | None = None) -> None:
        self._heartbeat.stop()
        self.deadlines.close()
        if not self._handshake.done():
            self._handshake.set_exception(why)
        streams = list(self._streams.values())
        self._streams.clear()
        self._receiver.receiving = {}
        for stream in streams:
            stream.end(why if stream.answered or unanswered is None else unanswered)
        self._changed()

    def _explained(self, error: ProtocolBroken, data: bytes) -> BackendError:
        if self._handshake.done():
            return ProtocolBroken(f"Triton at {self.server} broke HTTP/2: {error}", error.code)
        return BackendUnavailable(
            f"what listens at {self.server} does not speak HTTP/2, it sent {data[:24]!r}; "
            "is that Triton's gRPC port?"
        )

    # Heartbeat.

    def _ping(self) -> None:
        # A SETTINGS frame, which must be acknowledged, instead of PING: gRPC servers count PINGs on
        # silent streams and close the connection at the fourth, however far apart they are.
        self._write(frame(SETTINGS, 0, 0))

    def _frozen(self) -> None:
        seconds = self._limits.patience
        why = f"Triton at {self.server} is frozen: it did not answer a ping within {seconds:g} s"
        logger.warning(why)
        self.close(BackendUnavailable(why), PROTOCOL_ERROR)

    # Writing.

    def _write(self, data: bytes) -> None:
        if self._replies:
            data = bytes(self._replies) + data
            self._replies.clear()
        if self._transport is not None:
            self._transport.write(data)

    def _reply(self, data: bytes) -> None:
        self._replies += data

    def _send_replies(self) -> None:
        # In one write: since Python 3.12 asyncio sums all unsent buffers to report their size.
        if self._transport is None:
            return
        if self._transport.get_write_buffer_size() > MAX_QUEUED_BYTES:
            raise ProtocolBroken("a server that sends but does not read", ENHANCE_YOUR_CALM)
        self._write(b"")
