"""HTTP/2's frames: their types and flags, the nine-byte header, and how to write one."""

from __future__ import annotations

import struct

from enginix.errors import ProtocolBroken

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA = 0x0
HEADERS = 0x1
PRIORITY = 0x2
RST_STREAM = 0x3
SETTINGS = 0x4
PUSH_PROMISE = 0x5
PING = 0x6
GOAWAY = 0x7
WINDOW_UPDATE = 0x8
CONTINUATION = 0x9

ACK = 0x1
END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITISED = 0x20

NO_ERROR = 0x0
PROTOCOL_ERROR = 0x1
FLOW_CONTROL_ERROR = 0x3
FRAME_SIZE_ERROR = 0x6
REFUSED_STREAM = 0x7
CANCEL = 0x8
COMPRESSION_ERROR = 0x9
ENHANCE_YOUR_CALM = 0xB

ERROR_NAMES = (
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
)

HEAD_BYTES = 9
# Length and type share the first word: word >> 8 is the length, word & 0xFF the type.
unpack_head = struct.Struct(">IBI").unpack_from
ID_MASK = 0x7FFF_FFFF
LARGEST = 0x7FFF_FFFF
DEFAULT_WINDOW = 65_535
DEFAULT_FRAME_BYTES = 16_384


def frame(kind: int, flags: int, stream_id: int, payload: bytes | memoryview = b"") -> bytes:
    head = struct.pack(">IBI", len(payload) << 8 | kind, flags, stream_id)
    return head + payload


def window_update(stream_id: int, credit: int) -> bytes:
    return struct.pack(">IBII", 4 << 8 | WINDOW_UPDATE, 0, stream_id, credit)


def rst_stream(stream_id: int, code: int) -> bytes:
    return struct.pack(">IBII", 4 << 8 | RST_STREAM, 0, stream_id, code)


def error_name(code: int) -> str:
    return ERROR_NAMES[code] if code < len(ERROR_NAMES) else f"error {code:#x}"


def require_size(payload: bytes, size: int, name: str) -> None:
    if len(payload) != size:
        raise ProtocolBroken(
            f"a {name} frame of {len(payload)} bytes, expected {size}", FRAME_SIZE_ERROR
        )


def unpadded(payload: bytes, flags: int) -> bytes:
    """The payload of a DATA or HEADERS frame without its padding."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ProtocolBroken("a frame whose padding is longer than its payload", PROTOCOL_ERROR)
    return payload[1 : len(payload) - payload[0]]


def without_priority(payload: bytes, flags: int) -> bytes:
    """The header fragment of a HEADERS frame, which may start with a priority."""
    if not flags & PRIORITISED:
        return payload
    if len(payload) < 5:
        raise ProtocolBroken("a HEADERS frame too short for its priority", FRAME_SIZE_ERROR)
    return payload[5:]
