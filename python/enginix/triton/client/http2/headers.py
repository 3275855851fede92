"""Header blocks: writes the only request there is; collects and decodes the server's."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat
from urllib.parse import unquote_to_bytes

from hpack import Decoder, Encoder, HPACKError
from hpack.table import HeaderTable

from enginix.errors import BackendError, GenerationFailed, ProtocolBroken
from enginix.generation.request import Headers
from enginix.triton.client.failures import from_http_status, from_status
from enginix.triton.client.http2.frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM

PATH = "/inference.GRPCInferenceService/ModelStreamInfer"
MAX_HEADER_BYTES = 64 << 10
MAX_FRAGMENTS = 64
UNKNOWN = 2
# How many header blocks are remembered, and from which size on none is.
MAX_KNOWN, MAX_KNOWN_BYTES = 32, 256

Fields = dict[bytes, bytes]


def request_blocks(authority: str) -> Iterator[bytes]:
    """The header block of a connection's first request, second request, and so on.

    The first one disables the compression table, so all others are the same bytes, whatever
    table size the server allows or changes to.
    """
    fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", PATH),
        (":authority", authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("grpc-accept-encoding", "identity"),
        ("user-agent", "enginix"),
    ]
    encoder = Encoder()
    encoder.header_table_size = 0
    return chain([encoder.encode(fields)], repeat(encoder.encode(fields)))


def metadata_block(fields: Headers) -> bytes:
    """What follows a block of `request_blocks`: more fields, which enter no table either."""
    encoder = Encoder()
    encoder.header_table_size = 0
    # The first block disables the table, as the connection's first request has done.
    encoder.encode(())
    return bytes(encoder.encode(fields))


class HeaderReader:
    """Collects a header block from its HEADERS and CONTINUATION frames and decodes it."""

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=MAX_HEADER_BYTES)
        self._block = bytearray()
        self._fragments = 0
        # Header blocks that changed nothing in the compression table -> their fields. A server
        # repeats a few, and decoding one takes longer than all else that is done to a token.
        self._known: dict[bytes, Fields] = {}

    def feed(self, fragment: bytes) -> None:
        self._block += fragment
        self._fragments += 1
        if len(self._block) > MAX_HEADER_BYTES or self._fragments > MAX_FRAGMENTS:
            raise ProtocolBroken(
                f"headers of more than {MAX_HEADER_BYTES} bytes or {MAX_FRAGMENTS} frames",
                ENHANCE_YOUR_CALM,
            )

    def finish(self) -> Fields:
        block, self._block = bytes(self._block), bytearray()
        self._fragments = 0
        if (known := self._known.get(block)) is not None:
            return known
        table = self._decoder.header_table
        newest, entries, size = _newest(table), len(table.dynamic_entries), table.maxsize
        try:
            fields: Fields = dict(self._decoder.decode(block, raw=True))
        except HPACKError as error:
            raise ProtocolBroken(
                f"headers that cannot be decoded: {error}", COMPRESSION_ERROR
            ) from None
        # An entry that came, one that went, and a limit that later ones have.
        if _newest(table) is not newest or (len(table.dynamic_entries), table.maxsize) != (
            entries,
            size,
        ):
            self._known.clear()
        elif len(self._known) < MAX_KNOWN and len(block) <= MAX_KNOWN_BYTES:
            self._known[block] = fields
        return fields


def _newest(table: HeaderTable) -> tuple[bytes, bytes] | None:
    return table.dynamic_entries[0] if table.dynamic_entries else None


def is_interim(fields: Fields) -> bool:
    return fields.get(b":status", b"").startswith(b"1")


def refusal(fields: Fields, server: str) -> BackendError | None:
    """Why these response headers do not start a gRPC response; None if they do."""
    status = fields.get(b":status", b"")
    if status != b"200" and b"grpc-status" not in fields:
        return from_http_status(_text(status), server)
    if not fields.get(b"content-type", b"").startswith(b"application/grpc"):
        return GenerationFailed(
            f"{server} answered with content type {_text(fields.get(b'content-type', b''))!r}, "
            "expected application/grpc; is this Triton's gRPC port?"
        )
    return None


def outcome(fields: Fields, server: str) -> BackendError | None:
    """The failure that a stream's trailers report; None for success."""
    if b"grpc-status" not in fields:
        return GenerationFailed(f"Triton at {server} ended the stream without a status")
    text = _text(fields[b"grpc-status"])
    status = int(text) if text.isdecimal() else UNKNOWN
    if status == 0:
        return None
    return from_status(status, _text(unquote_to_bytes(fields.get(b"grpc-message", b""))), server)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
