"""One call on a connection: splits its data into messages and holds them for the reader."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping
from math import inf
from typing import Any, Protocol

from enginix.errors import GenerationFailed, ProtocolBroken
from enginix.generation.lane import Lane
from enginix.generation.stepping import Arrival
from enginix.triton.client.deadline import Deadlines
from enginix.triton.client.http2.frames import CANCEL, FLOW_CONTROL_ERROR
from enginix.triton.client.transport import Offer

# A message's header: whether it is compressed, and its length.
PREFIX_BYTES = 5
unpack_prefix = struct.Struct(">BI").unpack_from
pack_prefix = struct.Struct(">BI").pack
# How long a server may take to close a stream after its last message.
LINGER_SECONDS = 5.0


class Streams(Protocol):
    """What a stream needs of its connection."""

    deadlines: Deadlines
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
        "_ended",
        "_failure",
        "_lane",
        "_limit",
        "_loop",
        "_max_message",
        "_messages",
        "_offer",
        "_partial",
        "_waiter",
        "answered",
        "connection",
        "due",
        "found",
        "head",
        "held",
        "late_messages",
        "number",
        "released",
        "size",
        "texts",
        "window",
        "woken",
    )

    def __init__(self, connection: Streams, number: int, window: int, max_message: int) -> None:
        self.number = number
        self.answered = False
        self.released = False
        self.late_messages = 0
        self.connection = connection
        self._loop = asyncio.get_running_loop()
        # When the next message, or the end, is overdue.
        self.due = inf
        self.window = window
        self._max_message = max_message
        # Bytes that arrived since the server's window was last restored.
        self.held = 0
        # A DATA frame of `size` bytes that begins with `head` holds a token that may be in `texts`:
        # what it finds there its reader puts into `found`. Otherwise `head` is empty.
        self.head = b""
        self.size = 0
        self.texts: Mapping[int, Any] = {}
        self.found: list[Any] = []
        self._lane: Lane | None = None
        self._messages: list[bytes] = []
        self._partial = bytearray()
        self._waiter: Arrival | None = None
        # Whether the waiting reader is to be continued, and what it waits with.
        self.woken = False
        self._limit = 0.0
        self._offer: Offer | None = None
        self._failure: Exception | None = None
        self._ended = False

    async def receive(
        self, limit: float, offer: Offer | None = None, lane: Lane | None = None
    ) -> list[bytes]:
        while not self._messages:
            if self._failure is not None:
                raise self._failure
            if self._ended:
                return []
            waiter = self._waiter = Arrival(loop=self._loop)
            self._limit, self._offer, self._lane = limit, offer, lane
            self.connection.deadlines.start(self, limit)
            try:
                await waiter
            finally:
                self._waiter = self._offer = None
                self.head = b""
                self.due = inf
        messages, self._messages = self._messages, []
        if self.held * 2 > self.window:
            self._restore_window()
        return messages

    def arrive(self) -> None:
        """Continue the reader, unless what has arrived is taken without it."""
        self.woken = False
        waiter = self._waiter
        if waiter is None:
            return
        taken, over = False, self._ended or self._failure is not None
        try:
            if found := self.found:
                assert self._lane is not None, "it has found them"
                self.found = []
                self._lane.pass_on(found)
                taken = not self._messages and not over
                if self._lane.texts is not self.texts:
                    self.head = b""
            if self._offer is not None and self._messages and not over:
                taken = self._offer(self._messages)
        except Exception as error:
            self._failure, taken = error, False
            self._messages = []
        else:
            if taken:
                if self._messages:
                    self._messages = []
                    self._open_lane()
                self.due = self._loop.time() + self._limit
                if self.held * 2 > self.window:
                    self._restore_window()
                return
        self._waiter = None
        waiter.arrive()

    def leave(self, stop: bytes | None) -> None:
        self.due = inf
        self.connection.leave(self, stop)

    def release(self, linger: float = LINGER_SECONDS) -> None:
        self.released = True
        if not self._ended:
            self.connection.ignore(self)
            self.connection.deadlines.start(self, linger)

    def data(self, source: bytes, start: int, stop: int) -> None:
        """Take the content of a DATA frame. Called for every token."""
        size = stop - start
        # What comes after it must not be passed on before it.
        self.head = b""
        self.held += size
        if self.held > self.window:
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
        if self._waiter is None or self.woken:
            return
        if self._messages:
            self.woken = True
            self.connection.woken.append(self)
        elif self.held * 2 > self.window:
            # One message larger than the window: the reader waits, so nothing else restores it.
            self._restore_window()

    def padding(self, size: int) -> None:
        """Padding counts against the window too."""
        self.held += size

    def end(self, failure: Exception | None) -> None:
        """Nothing more will arrive. The reader gets what has arrived, then the failure."""
        self._ended = True
        if self._failure is None:
            self._failure = failure
        if self._failure is None and self._partial:
            self._failure = GenerationFailed("Triton ended the stream inside a message")
        self._wake()

    def _open_lane(self) -> None:
        lane = self._lane
        if lane is not None and lane.texts is not None and lane.head and not self._partial:
            self.texts, self.size = lane.texts, PREFIX_BYTES + lane.size
            self.head = pack_prefix(0, lane.size) + lane.head

    def _wake(self) -> None:
        if self._waiter is not None and not self.woken:
            self.woken = True
            self.connection.wake(self)

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
        self.connection.reset(self, CANCEL)
        self._wake()

    def _restore_window(self) -> None:
        credit, self.held = self.held, 0
        self.connection.restore_window(self, credit)

    def expired(self) -> None:
        """It was due."""
        if self.released:
            self.connection.reset(self, CANCEL)
        else:
            self._failure = TimeoutError()
            self._wake()
