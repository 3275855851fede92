"""What an open stream keeps, and that nothing of it is left once it has ended."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import subprocess
import sys
import tracemalloc
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from secrets import token_hex
from typing import Any

import pytest
from fakes.hostile_http2 import DATA, Peer, frame, hostile, response_headers, tokens, trailers
from gateway.harness import ids, served, server, user

from enginix.backends.openai.server import OpenAIBackend
from enginix.backends.triton import TritonBackend
from enginix.gateway.models.model import Model
from enginix.gateway.models.registry import PassthroughModel
from enginix.triton.client.client import TritonClient
from enginix.triton.client.tensor_names import TensorNames

CHAT = "/v1/chat/completions"
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"messages": user("Hi")},
    "/v1/completions": {"prompt": "Hi"},
    "/v1/responses": {"input": "Hi", "store": False},
    "/v1/messages": {"messages": user("Hi"), "max_tokens": 99},
}
LONG = 1000
TEXT = ids("one two three ~")
INPUTS = frozenset({"input_ids", "temperature", "runtime_top_k", "runtime_top_p"})
TENSOR_NAMES = TensorNames("model", INPUTS, frozenset({"output_ids"}))
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"~"},"finish_reason":null}]}\n\n'
LAST = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

Made = Callable[[bool], Any]


def message(stream: int, *token_ids: int, final: bool = False) -> bytes:
    return frame(DATA, 0, stream, tokens(*token_ids, final=final))


@asynccontextmanager
async def on_triton(ends: bool) -> AsyncIterator[Model]:
    """Its streams begin; `ends`: and end."""

    async def script(peer: Peer) -> None:
        await peer.begin()
        while True:
            stream = await peer.request()
            peer.send(response_headers(stream), *(message(stream, each) for each in TEXT))
            if ends:
                peer.send(message(stream, final=True), trailers(stream))

    async with hostile(script) as address:
        client = TritonClient(address, "model", tensor_names=TENSOR_NAMES)
        yield served(TritonBackend("Triton", client), context=1 << 16)


@asynccontextmanager
async def passed_through(ends: bool) -> AsyncIterator[Model]:
    body = EVENT + LAST * ends
    answer = HEAD + b"%x\r\n%b\r\n" % (len(body), body) + b"0\r\n\r\n" * ends
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(int(head.partition(b"Content-Length: ")[2].split()[0]))
                writer.write(answer)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield PassthroughModel("demo", OpenAIBackend("stand-in", url, "theirs"), "vllm")
    finally:
        listening.close()
        for each in writers:
            each.transport.abort()


def request(path: str, **more: Any) -> bytes:
    content = json.dumps({"model": "demo", "stream": True, **BODIES[path], **more}).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n"
    return head.encode() + b"content-type: application/json\r\n\r\n" + content


async def stream(port: int, path: str, *, ends: bool) -> None:
    """Read an answer's beginning and leave, or read all of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(path))
    async with asyncio.timeout(20):
        await reader.readuntil(b"\r\n0\r\n\r\n" if ends else b"~")
    writer.transport.abort()
    # The gateway, and whatever is behind it, notice it in their turns.
    for _ in range(100):
        await asyncio.sleep(0)


def alive() -> Counter[str]:
    """Objects of the gateway and its server, by their class."""
    kinds = Counter(map(type, gc.get_objects()))
    ours = ("enginix.", "uvicorn.")
    return Counter(
        {
            kind.__qualname__: count
            for kind, count in kinds.items()
            if str(kind.__module__).startswith(ours)
        }
    )


@contextmanager
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize(
    ("made", "path"), [*((on_triton, path) for path in BODIES), (passed_through, CHAT)]
)
async def test_a_stream_leaves_nothing_for_the_collector(made: Made, ends: bool, path: str) -> None:
    async with made(ends) as model, server(model) as client:
        port = client.base_url.port
        assert port is not None
        with without_collector():
            # What is made once stays.
            await stream(port, path, ends=ends)
            before = alive()
            for _ in range(3):
                await stream(port, path, ends=ends)
            left = alive() - before
    assert not left


@pytest.mark.parametrize("made", [on_triton, passed_through])
async def test_an_open_stream_keeps_neither_its_headers_nor_its_body(made: Made) -> None:
    in_header, in_body = token_hex(), token_hex()
    async with made(False) as model, server(model) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        note = b"\r\nx-note: %b\r\n\r\n" % in_header.encode()
        writer.write(request(CHAT, user=in_body).replace(b"\r\n\r\n", note))
        async with asyncio.timeout(20):
            await reader.readuntil(b"~")
        kept = texts()
        writer.transport.abort()
    assert kept.count(in_header.encode()) == 0
    # This test has one itself.
    assert kept.count(in_body) <= 1


async def test_an_open_stream_on_triton_keeps_no_tokens_of_its_prompt() -> None:
    # All of them fit into one window.
    prompt = request(CHAT, messages=user("a " * LONG))
    async with on_triton(False) as model, server(model) as client:
        port = client.base_url.port
        assert port is not None
        # Parts of prompts are remembered, those of this one once.
        first = await opened(port, prompt)
        before = long_prompts()
        clients = [await opened(port, prompt) for _ in range(3)]
        kept = long_prompts() - before
        for each in (first, *clients):
            each.close()
    assert kept == 0


def long_prompts() -> int:
    gc.collect()
    return sum(isinstance(each, array) and len(each) > LONG for each in gc.get_objects())


def texts() -> list[str | bytes]:
    """All that containers hold."""
    held = gc.get_referents(*gc.get_objects())
    # The collector does not know tuples that hold nothing but texts.
    held += gc.get_referents(*(each for each in held if not gc.is_tracked(each)))
    return [each for each in held if isinstance(each, str | bytes)]


async def kept_by_each(streams: int) -> float:
    """Bytes that each of so many open streams takes in its gateway."""
    async with on_triton(False) as model, server(model) as client:
        port = client.base_url.port
        assert port is not None
        # What is made once.
        await stream(port, CHAT, ends=False)
        gc.collect()
        tracemalloc.start()
        clients = [await opened(port, request(CHAT)) for _ in range(streams)]
        gc.collect()
        theirs = [tracemalloc.Filter(False, each) for each in (__file__, "*/fakes/*")]
        found = tracemalloc.take_snapshot().filter_traces(theirs).statistics("filename")
        tracemalloc.stop()
        for each in clients:
            each.close()
    return sum(each.size for each in found) / streams


async def opened(port: int, message: bytes) -> socket.socket:
    """A stream that has begun; its client keeps nothing of it."""
    loop = asyncio.get_running_loop()
    client = socket.socket()
    client.setblocking(False)
    await loop.sock_connect(client, ("127.0.0.1", port))
    await loop.sock_sendall(client, message)
    async with asyncio.timeout(20):
        while b"~" not in await loop.sock_recv(client, 1 << 16):
            pass
    return client


# In a process of its own, because the loop is the gateway's, not that of the other tests, whose
# connections are larger.
MEASURE = f"""
import os
import uvloop
from {__name__} import kept_by_each

async def measure():
    print(await kept_by_each(50), flush=True)
    os._exit(0)

uvloop.run(measure())
"""


def test_an_open_stream_on_triton_takes_less_than_22_kilobytes() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", MEASURE]
    run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, timeout=120, check=True)
    assert float(run.stdout) < 22_000
