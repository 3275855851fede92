"""Replays another server's recorded response byte for byte, cut into chunks in any way.

A recording is an HTTP/1.1 response as it came over the wire (`curl --raw -i`), headers included.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

RECORDINGS = Path(__file__).parent.parent / "recordings" / "servers"
NO_SUCH_ROUTE = b"HTTP/1.1 404 Not Found\r\nContent-Length: 22\r\n\r\n" + b'{"detail":"Not Found"}'


@dataclass(frozen=True)
class Recording:
    head: bytes
    body: bytes
    """The body of a chunked response, without the chunk framing."""
    raw: bytes

    @property
    def is_chunked(self) -> bool:
        return b"chunked" in self.head.lower()


def recording(name: str) -> Recording:
    raw = (RECORDINGS / f"{name}.http").read_bytes()
    head, _, rest = raw.partition(b"\r\n\r\n")
    made = Recording(head, rest, raw)
    return Recording(head, b"".join(chunks(rest)), raw) if made.is_chunked else made


def chunks(rest: bytes) -> Iterator[bytes]:
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return
        yield rest[:length]
        rest = rest[length + 2 :]


def cut(data: bytes, seed: int) -> list[bytes]:
    """Cut into chunks of one byte (seed 0) or of random sizes, mostly small."""
    dice = random.Random(seed)
    pieces, place = [], 0
    while place < len(data):
        length = 1 if seed == 0 else int(dice.expovariate(1 / 40)) + 1
        pieces.append(data[place : place + length])
        place += length
    return pieces


def segments(recorded: Recording, seed: int | None) -> list[bytes]:
    """The writes: as recorded (None), or with the body in other chunks, cut anywhere."""
    if seed is None or not recorded.is_chunked:
        return [recorded.raw] if seed is None else cut(recorded.raw, seed)
    framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in cut(recorded.body, seed))
    return cut(recorded.head + b"\r\n\r\n" + framed + b"0\r\n\r\n", seed + 1)


@asynccontextmanager
async def replaying(path: str, pieces: Sequence[bytes]) -> AsyncIterator[str]:
    """A server that answers these bytes to whatever is posted to `path`; it has no other route."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().lower().split("\r\n")
                length = next(line for line in lines if line.startswith("content-length:"))
                await reader.readexactly(int(length.partition(":")[2]))
                for piece in pieces if f"post {path} " in lines[0] + " " else [NO_SUCH_ROUTE]:
                    writer.write(piece)
                    await writer.drain()
                    # Let the reader see this much before sending more.
                    await asyncio.sleep(0)
                if b"connection: close" in pieces[0].lower():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
