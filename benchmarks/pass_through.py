"""The cost of passthrough: CPU time per token at 32 streams, paced or not, alternating in one run.

    python benchmarks/pass_through.py [--streams 32] [--tokens 500] [--pause 0.005] [--rounds 5]

A server process sends one event per token and stream, the measured process passes them on, and a
third process reads raw sockets and counts. Measured are the gateway, `enginix openai --models`,
which passes bytes through or parses reasoning and calls; a server around each available HTTP client
and nothing else; and as the minimum a program that copies bytes between sockets without parsing
them. Only the CPU time of the process that passes on counts.
Compare the ratios; the absolute numbers are the machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import uvicorn
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))


from benchmarks.front_ends import free_port
from benchmarks.process_usage import cpu_seconds
from enginix.backends.openai.http import HttpClient

HERE = Path(__file__)
PATH = "/v1/chat/completions"
TOKEN = b'" capital"'
OURS, THEIRS = b'"model":"ours"', b'"model":"models/their-name"'
EVENT = (
    b'data: {"id":"chatcmpl-0123456789","object":"chat.completion.chunk","created":1795187144,'
    b'"model":"models/their-name","choices":[{"index":0,"delta":{"content":" capital"},'
    b'"logprobs":null,"finish_reason":null}]}\n\n'
)
CHUNK = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
DONE = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


async def serve(port: int, pause: float) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            asked = json.loads(await reader.readexactly(length))
            writer.write(HEAD)
            for _ in range(asked["max_tokens"]):
                writer.write(CHUNK)
                await asyncio.sleep(pause)
            writer.write(DONE)

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    await server.serve_forever()


# Reads an answer's bytes as they arrive, with one of several HTTP clients.
Read = Callable[[bytes], AsyncIterator[bytes]]


def http1(url: str) -> Read:
    client = HttpClient(url, name="upstream")

    async def read(body: bytes) -> AsyncIterator[bytes]:
        async with client.request("POST", PATH, body) as answer:
            while piece := await answer.chunk():
                yield piece

    return read


def httpx_(url: str) -> Read:
    import httpx

    client = httpx.AsyncClient(base_url=url, timeout=60, trust_env=False)

    async def read(body: bytes) -> AsyncIterator[bytes]:
        async with client.stream("POST", PATH, content=body) as answer:
            async for piece in answer.aiter_raw():
                yield piece

    return read


def aiohttp_(url: str) -> Read:
    import aiohttp

    session: aiohttp.ClientSession | None = None

    async def read(body: bytes) -> AsyncIterator[bytes]:
        nonlocal session
        session = session or aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        async with session.post(url + PATH, data=body) as answer:
            async for piece in answer.content.iter_any():
                yield piece

    return read


CLIENTS = {"http1": http1, "httpx": httpx_, "aiohttp": aiohttp_}


def plain_proxy(read: Read) -> Any:
    """A minimal passthrough: no queue, no metrics, no error handling, events split anywhere."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if body:
            async for piece in read(body):
                piece = piece.replace(THEIRS, OURS)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


class Copy(asyncio.Protocol):
    """One end of a connection, copied to another one unchanged."""

    def __init__(self, upstream: int | None) -> None:
        self._upstream = upstream
        self._early: list[bytes] = []
        self.other: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self._upstream is not None:
            self._connecting = asyncio.ensure_future(self._connect(self._upstream))

    async def _connect(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        self.other, end = await loop.create_connection(lambda: Copy(None), "127.0.0.1", port)
        end.other = self.transport
        for data in self._early:
            self.other.write(data)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._early.append(data)
        else:
            self.other.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self.other is not None:
            self.other.close()


async def copy(port: int, upstream: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Copy(upstream), "127.0.0.1", port)
    await server.serve_forever()


async def read(port: int, model: str, tokens: int, *, keeps: bool) -> int:
    """How many tokens came; `keeps`: the connection stays open at the end."""
    asked = {"model": model, "stream": True, "max_tokens": tokens, "messages": []}
    body = json.dumps(asked).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 26)
    close = b"" if keeps else b"Connection: close\r\n"
    writer.write(
        b"POST %b HTTP/1.1\r\nHost: localhost\r\n%bContent-Length: %d\r\n\r\n%b"
        % (PATH.encode(), close, len(body), body)
    )
    answer = await (reader.readuntil(b"0\r\n\r\n") if keeps else reader.read())
    writer.close()
    return answer.count(TOKEN)


async def read_all(port: int, model: str, streams: int, tokens: int, keeps: bool) -> None:
    counts = await asyncio.gather(*(read(port, model, tokens, keeps=keeps) for _ in range(streams)))
    assert counts == [tokens] * streams, counts


def until_alive(port: int) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return


def started(stack: ExitStack, *arguments: str) -> int:
    """The id of a process that ends with the stack."""
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return process.pid


def start_all(stack: ExitStack, pause: float) -> dict[str, tuple[int, int, str]]:
    """Every program that passes on: the process, its port, and the model's name."""
    upstream = free_port()
    started(stack, str(HERE), f"--serve={upstream}", f"--pause={pause}")
    until_alive(upstream)
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    url = f"http://127.0.0.1:{upstream}"
    model = {"name": "ours", "url": url, "upstream": "models/their-name"}
    apart = {**model, "name": "apart", "reasoning": "think-tags", "tools": "hermes-json"}
    (directory / "models.json").write_text(json.dumps({"models": [model, apart]}))
    programs: dict[str, tuple[int, int, str]] = {}
    port = free_port()
    command = ["-m", "enginix", "openai", f"--models={directory}/models.json", f"--port={port}"]
    gateway = started(stack, *command)
    programs["gateway"] = (gateway, port, "ours")
    programs["gateway, parsing"] = (gateway, port, "apart")
    for client in CLIENTS:
        if client != "http1" and find_spec(client) is None:
            print(f"{client:>22}  not installed")
            continue
        port = free_port()
        proxy = (str(HERE), f"--proxy={client}", f"--port={port}", f"--upstream={upstream}")
        programs[f"plain proxy, {client}"] = (started(stack, *proxy), port, "ours")
    port = free_port()
    floor = (str(HERE), "--proxy=copy", f"--port={port}", f"--upstream={upstream}")
    programs["floor, bytes copied"] = (started(stack, *floor), port, "ours")
    for _, port, _ in programs.values():
        until_alive(port)
    return programs


def measured(pid: int, port: int, model: str, streams: int, tokens: int, keeps: bool) -> float:
    before = cpu_seconds(pid)
    uvloop.run(read_all(port, model, streams, tokens, keeps))
    return (cpu_seconds(pid) - before) / (streams * tokens) * 1e6


def main() -> None:
    args = parsed()
    if args.serve:
        uvloop.run(serve(args.serve, args.pause))
    elif args.proxy == "copy":
        uvloop.run(copy(args.port, args.upstream))
    elif args.proxy:
        app = plain_proxy(CLIENTS[args.proxy](f"http://127.0.0.1:{args.upstream}"))
        uvicorn.run(app, port=args.port, loop="uvloop", http="httptools", log_level="error")
    else:
        compare(args)


def compare(args: argparse.Namespace) -> None:
    with ExitStack() as stack:
        programs = start_all(stack, args.pause)
        costs: dict[str, list[float]] = {name: [] for name in programs}
        for number in range(args.rounds + 1):
            for name, (pid, port, model) in programs.items():
                tokens = args.tokens if number else 50
                cost = measured(pid, port, model, args.streams, tokens, name.startswith("floor"))
                # The first round only warms up.
                costs[name] += [cost] if number else []
        ours = median(costs["gateway"])
        print(f"CPU per token passed on, {args.streams} streams, {args.rounds} rounds")
        for name, each in costs.items():
            spread = f"{min(each):.1f} to {max(each):.1f}"
            print(f"{name:>22}  {median(each):6.1f} us  {median(each) / ours:5.2f} x  {spread}")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=500)
    parser.add_argument("--pause", type=float, default=0.005)
    parser.add_argument("--rounds", type=int, default=5)
    for hidden in ("--serve", "--port", "--upstream"):
        parser.add_argument(hidden, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--proxy", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
