"""Streams in their lanes, from a server's socket to a client's, in each dialect."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from fakes.hostile_http2 import (
    ACK,
    DATA,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Peer,
    Script,
    frame,
    hostile,
    response_headers,
    tokens,
    trailers,
)
from gateway.harness import ids, served, server, user
from gateway.reply.test_choice import CHANGING

from enginix.backends.triton import TritonBackend
from enginix.triton.client.client import TritonClient
from enginix.triton.client.messages import SCALARS
from enginix.triton.client.tensor_names import TensorNames

NAMES = TensorNames("model", frozenset(tensor for _, tensor, _, _ in SCALARS), frozenset())
REPLY = ids("One cat sat here, and so did I. ")
WINDOW = 64 << 10
MOST = 1 << 20


@dataclass(frozen=True)
class Dialect:
    path: str
    body: dict[str, Any]
    delta: bytes
    """What each token's event has, before its text."""
    end: bytes
    error: bytes

    def request(self) -> bytes:
        content = json.dumps({**self.body, "stream": True}).encode()
        head = f"POST {self.path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n\r\n"
        return head.encode() + content

    def text(self, stream: bytes) -> str:
        return "".join(map(json.loads, re.findall(self.delta + rb'("[^"]+")', stream)))


ASKED = {"messages": user("Hi"), "max_tokens": MOST}
DIALECTS = {
    "chat": Dialect(
        "/v1/chat/completions", ASKED, rb'"delta":{"content":', b"data: [DONE]", b'"error":'
    ),
    "completions": Dialect(
        "/v1/completions",
        {"prompt": "Hi", "max_tokens": MOST},
        rb'"index":0,"text":',
        b"data: [DONE]",
        b'"error":',
    ),
    "messages": Dialect(
        "/v1/messages", ASKED, rb'"text_delta","text":', b"event: message_stop", b"event: error"
    ),
    "responses": Dialect(
        "/v1/responses",
        {"input": "Hi", "max_output_tokens": MOST, "store": False},
        rb'"logprobs":\[\],"delta":',
        b"event: response.completed",
        b"event: response.failed",
    ),
}
every_dialect = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)


@dataclass
class Generating:
    """Sends the reply again and again, as far as the window allows, `step` tokens in a write."""

    count: int
    step: int = 1
    sent: int = 0
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    end: Callable[[Peer, int], None] = lambda peer, stream: peer.send(
        frame(DATA, 0, stream, tokens(final=True)), trailers(stream)
    )

    async def __call__(self, peer: Peer) -> None:
        await peer.begin()
        stream = await peer.request()
        peer.send(response_headers(stream))
        room = WINDOW
        while self.sent < self.count:
            batch = [self._frame(stream) for _ in range(min(self.step, self.count - self.sent))]
            room -= sum(len(each) - 9 for each in batch)
            while room < 0:
                read = await peer.read()
                if read.kind == RST_STREAM:
                    self.left.set()
                    return
                if read.kind == SETTINGS and not read.flags & ACK:
                    # Whether it is still there.
                    peer.send(frame(SETTINGS, ACK, 0))
                if read.kind == WINDOW_UPDATE and read.stream == stream:
                    room += int.from_bytes(read.payload)
            peer.send(*batch)
            await peer.flushed()
            self.begun.set()
        self.end(peer, stream)
        await peer.gone()

    def _frame(self, stream: int) -> bytes:
        self.sent += 1
        return frame(DATA, 0, stream, tokens(REPLY[(self.sent - 1) % len(REPLY)]))

    def text(self) -> str:
        whole = [REPLY[place % len(REPLY)] for place in range(self.count)]
        return served(None).tokenizer.decode(whole)  # type: ignore[arg-type]


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def asked(dialect: Dialect, script: Script) -> AsyncIterator[Connection]:
    """A connection of small buffers on which a stream has been asked for."""
    async with hostile(script) as address:
        client = TritonClient(address, "model", tensor_names=NAMES)
        model = served(TritonBackend("triton", client), context=2 * MOST)  # type: ignore[arg-type]
        async with server(model) as gateway, asyncio.timeout(60):
            connection = socket.socket()
            # Otherwise megabytes fit into the kernel.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 10)
            connection.connect(("127.0.0.1", gateway.base_url.port))
            reader, writer = await asyncio.open_connection(sock=connection)
            writer.write(dialect.request())
            yield reader, writer
            writer.close()
        await client.close()


async def read_all(reader: asyncio.StreamReader) -> bytes:
    answer = bytearray()
    while not answer.endswith(b"0\r\n\r\n"):
        more = await reader.read(1 << 20)
        assert more, "it was broken off"
        answer += more
    return bytes(answer)


def unchunked(answer: bytes) -> bytes:
    _, _, rest = answer.partition(b"\r\n\r\n")
    parts = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        parts.append(rest[:length])
        rest = rest[length + 2 :]
    return b"".join(parts)


@every_dialect
async def test_a_client_that_does_not_read_stops_its_stream_and_misses_nothing(
    dialect: Dialect,
) -> None:
    script = Generating(60_000, step=16)
    async with asked(dialect, script) as (reader, _):
        sent = -1
        while sent != script.sent or not sent:
            sent = script.sent
            for _ in range(300):
                await asyncio.sleep(0)
        assert sent < script.count
        stream = unchunked(await read_all(reader))
    assert dialect.text(stream) == script.text()
    assert dialect.end in stream


@every_dialect
async def test_a_client_that_leaves_in_mid_answer_ends_it_at_the_server(dialect: Dialect) -> None:
    script = Generating(1 << 30)
    async with asked(dialect, script) as (reader, writer):
        await script.begun.wait()
        await reader.readuntil(dialect.delta.replace(b"\\", b""))
        writer.transport.abort()
        await script.left.wait()


@every_dialect
@pytest.mark.parametrize("step", [1, 50])
async def test_an_error_in_mid_answer_comes_after_all_that_was_before_it(
    dialect: Dialect, step: int
) -> None:
    def fail(peer: Peer, stream: int) -> None:
        peer.send(trailers(stream, 13, "it broke"))

    script = Generating(500, step, end=fail)
    async with asked(dialect, script) as (reader, _):
        stream = unchunked(await read_all(reader))
    assert dialect.text(stream) == script.text()
    assert dialect.error in stream
    assert dialect.end not in stream


@every_dialect
async def test_the_bytes_do_not_depend_on_how_many_tokens_come_at_once(dialect: Dialect) -> None:
    seen = set()
    for step in (1, 3, 200):
        async with asked(dialect, Generating(600, step)) as (reader, _):
            stream = unchunked(await read_all(reader))
        seen.add(re.sub(rb'"(id|item_id)":"\w+-?\w+"', b"", CHANGING.sub(b"", stream)))
    assert len(seen) == 1
