"""Reads many streams at once: what they cost the process in between, and how even they were.

    python benchmarks/paced/client.py

A task a line in, as JSON, and what was seen a line out.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parents[2]))


from benchmarks.process_usage import cpu_seconds, resident_mb

CONTENT = b'"delta":{"content"'
START_SECONDS = 30.0
RECEIVE_BYTES, SEGMENT_BYTES = 32 << 10, 1460


@dataclass(frozen=True, slots=True)
class Task:
    """`request` is sent on every connection; `token` is what marks one in the bytes."""

    port: int
    request: str
    token: str
    streams: int
    seconds: float
    pid: int


@dataclass(frozen=True, slots=True)
class Seen:
    cpu_us: float
    """Of the process `pid`, for each token."""
    tokens_per_second: float
    gap_p99_ms: float
    """Between two pieces of one stream."""
    resident_mb: float


class Stream(asyncio.Protocol):
    def __init__(self, token: bytes) -> None:
        self._token = token
        self.tokens = 0
        self.gaps: list[float] = []
        self._last = 0.0

    def data_received(self, piece: bytes) -> None:
        count = piece.count(self._token)
        if not count:
            return
        now = time.perf_counter()
        self.tokens += count
        if self._last:
            self.gaps.append(now - self._last)
        self._last = now

    def connection_lost(self, error: Exception | None) -> None:
        self._last = 0.0


def connected(port: int) -> socket.socket:
    """With small buffers, as on a network: megabytes that wait in a socket were paid for before."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
    client.connect(("127.0.0.1", port))
    client.setblocking(False)
    return client


async def measure(task: Task) -> Seen:
    loop = asyncio.get_running_loop()
    streams: list[Stream] = []
    transports = []
    for _ in range(task.streams):
        transport, stream = await loop.create_connection(
            lambda: Stream(task.token.encode()), sock=connected(task.port)
        )
        transport.write(task.request.encode())
        streams.append(stream)
        transports.append(transport)
    until = loop.time() + START_SECONDS
    while not all(each.tokens for each in streams):
        if loop.time() > until or any(each.is_closing() for each in transports):
            begun = sum(each.tokens > 0 for each in streams)
            raise SystemExit(f"{begun} of {task.streams} streams of port {task.port} have begun")
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)
    for each in streams:
        each.tokens = 0
        each.gaps.clear()
    began, cpu = time.perf_counter(), cpu_seconds(task.pid)
    await asyncio.sleep(task.seconds)
    tokens = sum(each.tokens for each in streams)
    cpu = cpu_seconds(task.pid) - cpu
    seconds = time.perf_counter() - began
    gaps = sorted(gap for each in streams for gap in each.gaps)
    for each in transports:
        each.abort()
    return Seen(
        cpu / tokens * 1e6,
        tokens / seconds,
        gaps[int(0.99 * (len(gaps) - 1))] * 1e3,
        resident_mb(task.pid),
    )


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(asdict(uvloop.run(measure(Task(**json.loads(line)))))), flush=True)
