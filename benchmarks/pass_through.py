"""What passing on costs the gateway: its CPU per token, at 32 streams that are paced or not.

    python benchmarks/pass_through.py [--streams 32] [--tokens 500] [--pause 0.005] [--rounds 3]

A server in a process of its own sends one event per token and stream; `enginix openai --models`
passes them on; a third process reads raw sockets and counts. Only the gateway's CPU is counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from statistics import median

import uvloop

HERE = Path(__file__)
TICKS = os.sysconf("SC_CLK_TCK")
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


async def read(port: int, tokens: int) -> int:
    body = json.dumps(
        {"model": "ours", "stream": True, "max_tokens": tokens, "messages": []}
    ).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    found = (await reader.read()).count(b'"model":"ours"')
    writer.close()
    return found


async def read_all(port: int, streams: int, tokens: int) -> None:
    counts = await asyncio.gather(*(read(port, tokens) for _ in range(streams)))
    assert counts == [tokens] * streams, counts


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def until_alive(url: str) -> None:
    while True:
        try:
            urllib.request.urlopen(url, timeout=1).read()
        except OSError:
            time.sleep(0.05)
        else:
            return


def main() -> None:
    args = parsed()
    if args.serve:
        uvloop.run(serve(args.serve, args.pause))
    upstream, port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "models.json"
        url = f"http://127.0.0.1:{upstream}"
        file.write_text(
            json.dumps({"models": [{"name": "ours", "url": url, "upstream": "models/their-name"}]})
        )
        server = subprocess.Popen(
            [sys.executable, str(HERE), f"--serve={upstream}", f"--pause={args.pause}"]
        )
        command = [sys.executable, "-m", "enginix", "openai", f"--models={file}", f"--port={port}"]
        gateway = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until_alive(f"http://127.0.0.1:{port}/livez")
            uvloop.run(read_all(port, args.streams, 50))
            costs = []
            for _ in range(args.rounds):
                before, began = cpu_seconds(gateway.pid), time.perf_counter()
                uvloop.run(read_all(port, args.streams, args.tokens))
                took = time.perf_counter() - began
                total = args.streams * args.tokens
                costs.append((cpu_seconds(gateway.pid) - before) / total * 1e6)
                print(f"{costs[-1]:6.1f} us/token  {total / took:8.0f} tokens/s")
            print(f"{median(costs):6.1f} us/token  median, {args.streams} streams")
        finally:
            for process in (gateway, server):
                process.terminate()
                process.wait()


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=500)
    parser.add_argument("--pause", type=float, default=0.005)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
