"""The receive loop: every byte of every token passes here, so it does as little as possible."""

from __future__ import annotations

import struct
from collections.abc import Callable

from enginix.errors import ProtocolBroken
from enginix.triton.client.http2.frames import (
    DATA,
    DEFAULT_FRAME_BYTES,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    HEAD_BYTES,
    ID_MASK,
    unpack_head,
    window_update,
)
from enginix.triton.client.http2.stream import Stream

unpack_id = struct.Struct("<i").unpack_from
# Restored on arrival, so that one slow reader does not stop the other streams; the windows of
# the streams bound what is buffered.
CONNECTION_WINDOW = 16 << 20


class Receiver:
    """Splits a connection's bytes into frames; plain DATA goes straight to its stream.

    `receiving` holds the streams whose DATA is wanted; every other frame goes to `on_frame`.
    """

    def __init__(
        self,
        on_frame: Callable[[int, int, int, bytes], None],
        write: Callable[[bytes], None],
    ) -> None:
        self.receiving: dict[int, Stream] = {}
        self._on_frame = on_frame
        self._write = write
        self._rest = b""
        self._held = 0

    def feed(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        receiving = self.receiving
        position, end, held = 0, len(data), 0
        while end - position >= HEAD_BYTES:
            word, flags, stream_id = unpack_head(data, position)
            size = word >> 8
            if size > DEFAULT_FRAME_BYTES:
                raise _oversized(size)
            start = position + HEAD_BYTES
            stop = start + size
            if stop > end:
                break
            kind = word & 0xFF
            if kind == DATA:
                held += size
            if not flags and kind == DATA and (stream := receiving.get(stream_id)) is not None:
                if (
                    stream.head
                    and size == stream.size
                    and data.startswith(stream.head, start)
                    and stream.held + size <= stream.window
                    and (text := stream.texts.get(unpack_id(data, start + len(stream.head))[0]))
                ):
                    stream.held += size
                    stream.found.append(text)
                    if not stream.woken:
                        stream.woken = True
                        stream.connection.woken.append(stream)
                else:
                    stream.data(data, start, stop)
            else:
                self._on_frame(kind, flags, stream_id & ID_MASK, data[start:stop])
                receiving = self.receiving
            position = stop
        self._rest = data[position:]
        self._held += held
        if self._held * 2 > CONNECTION_WINDOW:
            self._restore_window()

    def _restore_window(self) -> None:
        if self._held > CONNECTION_WINDOW:
            raise ProtocolBroken("more data than the connection's window", FLOW_CONTROL_ERROR)
        self._write(window_update(0, self._held))
        self._held = 0


def _oversized(size: int) -> ProtocolBroken:
    return ProtocolBroken(
        f"a frame of {size} bytes, at most {DEFAULT_FRAME_BYTES} were agreed on", FRAME_SIZE_ERROR
    )
