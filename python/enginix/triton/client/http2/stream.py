"""One call on a connection: splits its data into messages and holds them for the reader."""

from __future__ import annotations

import asyncio
import struct
from typing import Protocol

from enginix.errors import GenerationFailed, ProtocolBroken
from enginix.generation.stepping import Arrival
from enginix.triton.client.deadline import Deadline
from enginix.triton.client.http2.frames import CANCEL, FLOW_CONTROL_ERROR
from enginix.triton.client.transport import Offer

# A message's header: whether it is compressed, and its length.
PREFIX_BYTES = 5
unpack_prefix = struct.Struct(">BI").unpack_from
# How long a server may take to close a stream after its last message.
LINGER_SECONDS = 5.0


class Streams(Protocol):
    """What a stream needs of its connection."""

    woken: list[Stream]
    """Streams to continue once what is being read has been split into frames."""

    def reset(self, stream: Stream, code: int) -> None: ...
    def leave(self, stream: Stream, stop: bytes | None) -> None: ...
    def ignore(self, stream: Stream) -> None: ...
    def wake(self, stream: Stream) -> None: ...
    def restore_window(self, stream: Stream, credit: int) -> None: ...


class Stream:
    """A Call of the lean transport."""

    __slots__ = (
        "_connection",
        "_deadline",
        "_ended",
        "_failure",
        "_held",
        "_limit",
        "_loop",
        "_max_message",
        "_messages",
        "_offer",
        "_partial",
        "_waiter",
        "_window",
        "_woken",
        "answered",
        "late_messages",
        "number",
        "released",
    )

    def __init__(self, connection: Streams, number: int, window: int, max_message: int) -> None:
        self.number = number
        self.answered = False
        self.released = False
        self.late_messages = 0
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._deadline = Deadline(self._expired)
        self._window = window
        self._max_message = max_message
        # Bytes that arrived since the server's window was last restored.
        self._held = 0
        self._messages: list[bytes] = []
        self._partial = bytearray()
        self._waiter: Arrival | None = None
        # Whether the waiting reader is to be continued, and what it waits with.
        self._woken = False
        self._limit = 0.0
        self._offer: Offer | None = None
        self._failure: Exception | None = None
        self._ended = False

    async def receive(self, limit: float, offer: Offer | None = None) -> list[bytes]:
        while not self._messages:
            if self._failure is not None:
                raise self._failure
            if self._ended:
                return []
            waiter = self._waiter = Arrival(loop=self._loop)
            self._limit, self._offer = limit, offer
            self._deadline.start(limit)
            try:
                await waiter
            finally:
                self._waiter = self._offer = None
                self._deadline.stop()
        messages, self._messages = self._messages, []
        if self._held * 2 > self._window:
            self._restore_window()
        return messages

    def arrive(self) -> None:
        """Continue the reader, unless what has arrived is taken without it."""
        self._woken = False
        waiter = self._waiter
        if waiter is None:
            return
        if self._offer is not None and self._messages and not self._ended:
            try:
                taken = self._offer(self._messages)
            except Exception as error:
                self._failure, taken = error, False
                self._messages = []
            if taken:
                self._messages = []
                self._deadline.due = self._loop.time() + self._limit
                if self._held * 2 > self._window:
                    self._restore_window()
                return
        self._waiter = None
        waiter.arrive()

    def leave(self, stop: bytes | None) -> None:
        self._deadline.close()
        self._connection.leave(self, stop)

    def release(self, linger: float = LINGER_SECONDS) -> None:
        self.released = True
        if self._ended:
            self._deadline.close()
        else:
            self._connection.ignore(self)
            self._deadline.start(linger)

    def data(self, source: bytes, start: int, stop: int) -> None:
        """Take the content of a DATA frame. Called for every token."""
        size = stop - start
        self._held += size
        if self._held > self._window:
            raise ProtocolBroken("more data than the stream's window", FLOW_CONTROL_ERROR)
        if (
            size >= PREFIX_BYTES
            and not self._partial
            and unpack_prefix(source, start) == (0, size - PREFIX_BYTES)
            and size <= self._max_message
        ):
            self._messages.append(source[start + PREFIX_BYTES : stop])
        else:
            self._cut(source[start:stop])
        if self._waiter is None or self._woken:
            return
        if self._messages:
            self._woken = True
            self._connection.woken.append(self)
        elif self._held * 2 > self._window:
            # One message larger than the window: the reader waits, so nothing else restores it.
            self._restore_window()

    def padding(self, size: int) -> None:
        """Padding counts against the window too."""
        self._held += size

    def end(self, failure: Exception | None) -> None:
        """Nothing more will arrive. The reader gets what has arrived, then the failure."""
        self._ended = True
        if self._failure is None:
            self._failure = failure
        if self._failure is None and self._partial:
            self._failure = GenerationFailed("Triton ended the stream inside a message")
        if self.released:
            self._deadline.close()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._woken:
            self._woken = True
            self._connection.wake(self)

    def _cut(self, chunk: bytes) -> None:
        """Split data whose frames and messages do not coincide."""
        buffer = self._partial
        buffer += chunk
        position = 0
        while len(buffer) - position >= PREFIX_BYTES:
            compressed, size = unpack_prefix(buffer, position)
            if compressed or size > self._max_message:
                self._refuse(size, compressed)
                return
            end = position + PREFIX_BYTES + size
            if end > len(buffer):
                break
            self._messages.append(bytes(buffer[position + PREFIX_BYTES : end]))
            position = end
        del buffer[:position]

    def _refuse(self, size: int, compressed: int) -> None:
        self._partial.clear()
        self._failure = GenerationFailed(
            "Triton sent a compressed message; this client announced no compression"
            if compressed
            else f"Triton sent a message of {size} bytes; the limit is {self._max_message}"
        )
        self._connection.reset(self, CANCEL)
        self._wake()

    def _restore_window(self) -> None:
        credit, self._held = self._held, 0
        self._connection.restore_window(self, credit)

    def _expired(self) -> None:
        if self.released:
            self._connection.reset(self, CANCEL)
        else:
            self._failure = TimeoutError()
            self._wake()
