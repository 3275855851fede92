"""One HTTP/2 connection to one server: its streams, its rules, its end."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from enginix.errors import BackendError, BackendUnavailable, ProtocolBroken, SafeToRetry
from enginix.generation.limits import Limits
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

# How much a server that asks but does not read may make us queue in answers.
MAX_QUEUED_BYTES = 1 << 20
# How long the last words to a server may take.
FLUSH_SECONDS = 1.0


@dataclass(slots=True)
class Late:
    """What servers still sent of streams that had been cancelled: a message a token."""

    messages: int = 0


class Connection(asyncio.Protocol):
    """Carries many streams; `changed` is called when it may have room again, or none any more."""

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
        self._settled: asyncio.Future[None] = self._loop.create_future()
        self._settings = PeerSettings()
        self._streams: dict[int, Stream] = {}
        self._draining = False
        self._answers = bytearray()
        self._outbox = Outbox(self._write)
        self._receiver = Receiver(self._on_frame, self._write)
        self._blocks = request_blocks(server)
        self._headers = HeaderReader()
        # While a header block is incomplete: its stream, whether it ends it, and the DATA readers.
        self._block: tuple[int, int, dict[int, Stream]] | None = None
        self._heartbeat = Heartbeat(
            ask=self._ask_for_a_sign,
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

    # What the rest of the transport asks of it.

    async def settled(self) -> None:
        """Return when the server has shown that it speaks HTTP/2."""
        await self._settled

    @property
    def usable(self) -> bool:
        """Whether new requests may come here at all, now or when others have ended."""
        alive = self._transport is not None and not self._draining
        return alive and self._settled.done() and self._next_id <= LARGEST

    @property
    def room(self) -> bool:
        return len(self._streams) < self._settings.max_concurrent_streams

    def start(self, body: bytes) -> Stream:
        """Send a request whose gRPC message, with its prefix, is `body`."""
        number = self._next_id
        self._next_id += 2
        stream = Stream(self, number, self._limits.window_bytes, self._limits.max_message_bytes)
        if not self._streams:
            self._heartbeat.start()
        self._streams[number] = stream
        head = frame(HEADERS, END_HEADERS, number, next(self._blocks))
        self._outbox.send(number, head, body)
        return stream

    def reset(self, stream: Stream, code: int) -> None:
        """End a stream from this side; nothing happens when it has ended."""
        if stream.number in self._streams:
            self._write(rst_stream(stream.number, code))
            self._forget(stream)

    def ignore(self, stream: Stream) -> None:
        """Drop further DATA of a stream that the server is about to end."""
        self._receiver.receiving.pop(stream.number, None)

    def restore_window(self, stream: Stream, credit: int) -> None:
        if stream.number in self._streams:
            self._write(window_update(stream.number, credit))

    def retire(self) -> None:
        """Take no new requests; close when the running ones have ended."""
        self._draining = True
        if not self._streams:
            self.close(BackendUnavailable(f"the connection to {self.server} was closed"))

    def close(self, why: BackendError, code: int = NO_ERROR) -> None:
        """Tell the server, and end every stream with `why`."""
        if self._transport is None:
            return
        self._write(frame(GOAWAY, 0, 0, bytes(4) + code.to_bytes(4, "big")))
        transport, self._transport = self._transport, None
        transport.close()
        # A server that does not read would keep what is still unsent, and the socket, for ever.
        self._loop.call_later(FLUSH_SECONDS, transport.abort)
        self._end_streams(why)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of no asyncio class.
        self._transport = cast(asyncio.Transport, transport)
        settings = client_settings(self._limits.window_bytes, MAX_HEADER_BYTES)
        self._write(PREFACE + settings + window_update(0, CONNECTION_WINDOW - DEFAULT_WINDOW))

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        self._heartbeat.heard = self._loop.time()
        try:
            self._receiver.feed(data)
            self._send_answers()
        except ProtocolBroken as error:
            self.close(self._explained(error, data), error.code)

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
        if not self._settled.done() and kind != SETTINGS:
            raise ProtocolBroken("the first frame is not SETTINGS", PROTOCOL_ERROR)
        if self._block and (kind != CONTINUATION or stream_id != self._block[0]):
            raise ProtocolBroken("a header block with other frames inside", PROTOCOL_ERROR)
        handler = self._handlers.get(kind)
        # Unknown kinds, and PRIORITY, are to be ignored.
        if handler is not None:
            handler(flags, stream_id, payload)

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        stream = self._open_stream(stream_id, "DATA")
        if stream is None:
            self._late.messages += bool(payload)
            return
        if not stream.answered:
            raise ProtocolBroken("DATA before HEADERS", PROTOCOL_ERROR)
        if not stream.released:
            content = unpadded(payload, flags)
            stream.padding(len(payload) - len(content))
            stream.data(content, 0, len(content))
        # A message that is refused has ended the stream by now.
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
            # Decoded even when nobody waits for it: the compression table moves on.
            fields = self._headers.finish()
            stream = self._streams.get(stream_id)
            if stream is not None:
                self._on_fields(stream, fields, bool(ends))

    def _on_fields(self, stream: Stream, fields: Fields, ends: bool) -> None:
        if stream.answered:
            if not ends:
                raise ProtocolBroken("HEADERS amid the DATA", PROTOCOL_ERROR)
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
        self._answer(frame(SETTINGS, ACK, 0))
        if not self._settled.done():
            self._settled.set_result(None)
        self._changed()

    def _on_push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise ProtocolBroken("PUSH_PROMISE, which was switched off", PROTOCOL_ERROR)

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._require_connection(stream_id, "PING")
        require_size(payload, 8, "PING")
        if not flags & ACK:
            self._answer(frame(PING, ACK, 0, payload))

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._require_connection(stream_id, "GOAWAY")
        if len(payload) < 8:
            raise ProtocolBroken(f"a GOAWAY frame of {len(payload)} bytes", FRAME_SIZE_ERROR)
        last = int.from_bytes(payload[:4], "big") & ID_MASK
        code = int.from_bytes(payload[4:8], "big")
        said = f"Triton at {self.server} said goodbye: {error_name(code)}"
        if code != NO_ERROR:
            logger.warning("%s %s", said, payload[8:200].decode("utf-8", "replace"))
        for stream in [one for one in self._streams.values() if one.number > last]:
            self._forget(stream)
            stream.end(SafeToRetry(said))
        self.retire()
        self._changed()

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        require_size(payload, 4, "WINDOW_UPDATE")
        credit = int.from_bytes(payload, "big") & ID_MASK
        if credit == 0:
            raise ProtocolBroken("a WINDOW_UPDATE of nothing", PROTOCOL_ERROR)
        if stream_id == 0 or self._open_stream(stream_id, "WINDOW_UPDATE") is not None:
            self._outbox.credit(stream_id, credit)

    def _open_stream(self, stream_id: int, kind: str) -> Stream | None:
        """None for a stream that has ended; one that was never begun breaks the protocol."""
        stream = self._streams.get(stream_id)
        if stream is None and (stream_id % 2 == 0 or stream_id >= self._next_id):
            raise ProtocolBroken(f"{kind} for stream {stream_id}, never begun", PROTOCOL_ERROR)
        return stream

    def _require_connection(self, stream_id: int, kind: str) -> None:
        if stream_id:
            raise ProtocolBroken(f"{kind} on stream {stream_id}", PROTOCOL_ERROR)

    # Ends.

    def _finish(self, stream: Stream, failure: BackendError | None) -> None:
        """The server has ended a stream."""
        if self._outbox.drop(stream.number):
            # It does not want the rest of the request.
            self._write(rst_stream(stream.number, CANCEL))
        self._forget(stream)
        stream.end(failure)

    def _forget(self, stream: Stream) -> None:
        del self._streams[stream.number]
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
        if not self._settled.done():
            self._settled.set_exception(why)
        streams = list(self._streams.values())
        self._streams.clear()
        self._receiver.receiving = {}
        for stream in streams:
            stream.end(why if stream.answered or unanswered is None else unanswered)
        self._changed()

    def _explained(self, error: ProtocolBroken, data: bytes) -> BackendError:
        if self._settled.done():
            return ProtocolBroken(f"Triton at {self.server} broke HTTP/2: {error}", error.code)
        return BackendUnavailable(
            f"what listens at {self.server} does not speak HTTP/2, it said {data[:24]!r}; "
            "is that Triton's gRPC port?"
        )

    # Signs of life.

    def _ask_for_a_sign(self) -> None:
        # SETTINGS, which must be acknowledged, and not PING: gRPC servers count PINGs on silent
        # streams and end the connection at the fourth, however far apart they are.
        self._write(frame(SETTINGS, 0, 0))

    def _frozen(self) -> None:
        seconds = self._limits.patience
        why = f"Triton at {self.server} is frozen: it left a question open for {seconds:g} s"
        logger.warning(why)
        self.close(BackendUnavailable(why), PROTOCOL_ERROR)

    # Writing.

    def _write(self, data: bytes) -> None:
        if self._answers:
            data = bytes(self._answers) + data
            self._answers.clear()
        if self._transport is not None:
            self._transport.write(data)

    def _answer(self, data: bytes) -> None:
        self._answers += data

    def _send_answers(self) -> None:
        # In one write: from Python 3.12 on, asyncio adds up every unsent one to tell their size.
        if not self._answers or self._transport is None:
            return
        if self._transport.get_write_buffer_size() > MAX_QUEUED_BYTES:
            raise ProtocolBroken("a server that asks but does not read", ENHANCE_YOUR_CALM)
        self._write(b"")
