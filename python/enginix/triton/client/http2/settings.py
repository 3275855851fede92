"""The SETTINGS that each side sends to the other."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from enginix.errors import ProtocolBroken
from enginix.triton.client.http2.frames import (
    DEFAULT_FRAME_BYTES,
    DEFAULT_WINDOW,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    LARGEST,
    PROTOCOL_ERROR,
    SETTINGS,
    frame,
)

ENABLE_PUSH = 0x2
MAX_CONCURRENT_STREAMS = 0x3
INITIAL_WINDOW_SIZE = 0x4
MAX_FRAME_SIZE = 0x5
MAX_HEADER_LIST_SIZE = 0x6

PAIR = struct.Struct(">HI")


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """The server's settings that bind a client.

    HEADER_TABLE_SIZE is not among them: our header blocks use no dynamic table.
    """

    max_concurrent_streams: int = LARGEST
    initial_window: int = DEFAULT_WINDOW
    max_frame_bytes: int = DEFAULT_FRAME_BYTES

    def updated(self, payload: bytes) -> PeerSettings:
        """Apply a SETTINGS frame."""
        if len(payload) % PAIR.size:
            raise ProtocolBroken(
                f"a SETTINGS frame of {len(payload)} bytes, expected a multiple of {PAIR.size}",
                FRAME_SIZE_ERROR,
            )
        settings = self
        for number, value in PAIR.iter_unpack(payload):
            settings = settings._with(number, value)
        return settings

    def _with(self, number: int, value: int) -> PeerSettings:
        if number == MAX_CONCURRENT_STREAMS:
            return replace(self, max_concurrent_streams=value)
        if number == INITIAL_WINDOW_SIZE:
            if value > LARGEST:
                raise ProtocolBroken(f"an initial window of {value} bytes", FLOW_CONTROL_ERROR)
            return replace(self, initial_window=value)
        if number == MAX_FRAME_SIZE:
            if not DEFAULT_FRAME_BYTES <= value < 1 << 24:
                raise ProtocolBroken(f"a maximum frame size of {value} bytes", PROTOCOL_ERROR)
            return replace(self, max_frame_bytes=value)
        if number == ENABLE_PUSH and value:
            raise ProtocolBroken("a server that enables push to itself", PROTOCOL_ERROR)
        return self


def client_settings(window: int, max_header_bytes: int) -> bytes:
    """The one SETTINGS frame with content that we send."""
    pairs = (
        (ENABLE_PUSH, 0),
        (INITIAL_WINDOW_SIZE, window),
        (MAX_HEADER_LIST_SIZE, max_header_bytes),
    )
    return frame(SETTINGS, 0, 0, b"".join(PAIR.pack(*pair) for pair in pairs))
