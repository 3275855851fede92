"""The gateway's CPU time per token and that of a bare grpc.aio client, alternating in one run.

    python benchmarks/gateway.py --engine DIR [--streams 1 8 32 128] [--rounds 3]

Starts the real Triton with the zero-delay model of tests/fakes/token_model (or takes --triton),
and `enginix openai` in front of it. A separate process sends chats over real sockets and counts and
checks every token. The baseline is grpc.aio's own stub, with nothing after it.
At an engine's pace, with many streams, and beside other front ends: token_path.py.
Compare the ratios; the absolute numbers are the machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

# ruff: noqa: E402, I001, the path comes first
from benchmarks.process_usage import cpu_seconds, resident_mb
from benchmarks.transport import bare
from benchmarks.transport import measure as measure_bare

from enginix.cli import environment
from enginix.runtimes.find import find_triton_cpu
from enginix.triton.client.client import TokenRequest, TritonClient
from enginix.triton.client.messages import build_request

WORDS = "Say hello in three languages, count to one hundred and name the capital of France. " * 4
CHAT = "/v1/chat/completions"
WARM_UP_SECONDS = 1.0
PROMPT = list(range(1000, 1300))


@dataclass(frozen=True, slots=True)
class Measured:
    cpu_us: float
    tokens_per_second: float
    first_token_ms: float
    resident_mb: float = 0.0


def chat_body(tokens: int) -> bytes:
    body = {
        "model": "demo",
        "messages": [{"role": "user", "content": WORDS}],
        "max_tokens": tokens,
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return json.dumps(body).encode()


def request_of(url: str, path: str, content: bytes) -> bytes:
    host = url.removeprefix("http://")
    head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(content)}"
    return f"{head}\r\ncontent-type: application/json\r\n\r\n".encode() + content


class Answer(asyncio.Protocol):
    """Reads one answer after the other from a connection, as cheaply as possible."""

    def __init__(self) -> None:
        self.first = 0.0
        self._pieces: list[bytes] = []
        self._whole: asyncio.Future[bytes] | None = None

    def expect(self) -> asyncio.Future[bytes]:
        self.first = 0.0
        self._pieces.clear()
        self._whole = asyncio.get_running_loop().create_future()
        return self._whole

    def data_received(self, piece: bytes) -> None:
        self._pieces.append(piece)
        if not self.first and b'"delta"' in piece:
            self.first = time.perf_counter()
        if piece.endswith(b"0\r\n\r\n") and self._whole:
            self._whole.set_result(b"".join(self._pieces))

    def connection_lost(self, error: Exception | None) -> None:
        if self._whole and not self._whole.done():
            self._whole.set_exception(ConnectionError(f"broken off: {self._pieces[-1:]}"))


class Load:
    """Many chats at once, one after the other in each stream; runs in a process of its own."""

    def __init__(self, url: str, tokens: int) -> None:
        self._address = url.removeprefix("http://").split(":")
        self._request = request_of(url, CHAT, chat_body(tokens))
        self._tokens = tokens
        self.tokens = 0
        self.firsts: list[float] = []

    async def run(self, streams: int, seconds: float) -> None:
        until = time.perf_counter() + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(streams):
                group.create_task(self._ask_repeatedly(until))

    async def _ask_repeatedly(self, until: float) -> None:
        loop = asyncio.get_running_loop()
        transport, answer = await loop.create_connection(Answer, *self._address)
        while (started := time.perf_counter()) < until:
            whole = answer.expect()
            transport.write(self._request)
            reply = await whole
            self.firsts.append(answer.first - started)
            self._check(reply)
        transport.close()

    def _check(self, reply: bytes) -> None:
        counted = f'"completion_tokens":{self._tokens},'.encode()
        if counted not in reply or b"[DONE]" not in reply:
            raise SystemExit(f"a wrong answer: {reply[:300]!r} ... {reply[-300:]!r}")
        self.tokens += self._tokens


def drive() -> None:
    """The load process: one task a line in, what was seen a line out."""
    for line in sys.stdin:
        task = json.loads(line)
        load = Load(task["url"], task["tokens"])
        started = time.perf_counter()
        uvloop.run(load.run(task["streams"], task["seconds"]))
        seen = {
            "tokens": load.tokens,
            "seconds": time.perf_counter() - started,
            "first": median(load.firsts),
        }
        print(json.dumps(seen), flush=True)


class LoadProcess:
    def __init__(self) -> None:
        command = [sys.executable, __file__, "--drive"]
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    @property
    def pid(self) -> int:
        return self._child.pid

    def run(self, url: str, streams: int, tokens: int, seconds: float) -> dict[str, Any]:
        assert self._child.stdin
        assert self._child.stdout
        task = {"url": url, "streams": streams, "tokens": tokens, "seconds": seconds}
        self._child.stdin.write(json.dumps(task) + "\n")
        self._child.stdin.flush()
        seen: dict[str, Any] = json.loads(self._child.stdout.readline())
        return seen

    def close(self) -> None:
        self._child.communicate()


@dataclass(frozen=True, slots=True)
class Gateway:
    url: str
    pid: int

    def measure(self, load: LoadProcess, streams: int, tokens: int, seconds: float) -> Measured:
        load.run(self.url, streams, tokens, WARM_UP_SECONDS)
        before = cpu_seconds(self.pid)
        seen = load.run(self.url, streams, tokens, seconds)
        return Measured(
            cpu_us=(cpu_seconds(self.pid) - before) / seen["tokens"] * 1e6,
            tokens_per_second=seen["tokens"] / seen["seconds"],
            first_token_ms=seen["first"] * 1e3,
            resident_mb=resident_mb(self.pid),
        )


@contextmanager
def running_gateway(
    engine: Path, triton: str, transport: str, tree: Path = ROOT
) -> Iterator[Gateway]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "enginix", "openai", str(engine), "--no-access-log"),
        *(f"--port={port}", f"--triton={triton}", f"--transport={transport}"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(tree / "python")}
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    try:
        assert child.stdout
        for line in child.stdout:
            if "startup complete" in line:
                break
        yield Gateway(f"http://127.0.0.1:{port}", child.pid)
    finally:
        child.terminate()
        child.communicate()


async def floor(address: str, streams: int, seconds: float) -> Measured:
    """grpc.aio alone: it receives the same number of tokens and does nothing with them."""
    client = TritonClient(address)
    request = TokenRequest(prompt_ids=PROMPT, max_tokens=len(PROMPT))
    message = build_request(request, await client.tensor_names(), None)
    await client.close()
    measured = await measure_bare(bare(address, message), streams, seconds)
    return Measured(measured.cpu_us, measured.tokens_per_second, measured.first_token_ms)


def roomy(engine: Path, directory: Path) -> Path:
    """The engine's tokenizer and template, with a context for the longest answers."""
    copy = directory / "engine"
    shutil.copytree(engine, copy, ignore=shutil.ignore_patterns("*.gguf"))
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["limits"]["max_seq_len"] = 1 << 20
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return copy


def main(arguments: argparse.Namespace) -> None:
    load, seconds = LoadProcess(), arguments.seconds
    with (
        tempfile.TemporaryDirectory() as directory,
        triton_of(arguments) as address,
        running_gateway(
            engine := roomy(arguments.engine, Path(directory)), address, "http2"
        ) as ours,
        running_gateway(engine, address, "grpc-aio") as over_aio,
    ):
        print("\nCPU per token, answers of 300 tokens")
        head()
        for streams in arguments.streams:
            rounds: dict[str, list[Measured]] = {}
            for _ in range(arguments.rounds):
                add(rounds, "bare", uvloop.run(floor(address, streams, seconds)))
                add(rounds, "gateway", ours.measure(load, streams, 300, seconds))
                add(rounds, "over aio", over_aio.measure(load, streams, 300, seconds))
            report(streams, rounds)
        print("\nwith the answer's length, 32 streams")
        head()
        rounds = {}
        for _ in range(arguments.rounds):
            for tokens in arguments.lengths:
                add(rounds, f"{tokens} tokens", ours.measure(load, 32, tokens, seconds))
        report(32, rounds)
    load.close()


def add(rounds: dict[str, list[Measured]], name: str, measured: Measured) -> None:
    rounds.setdefault(name, []).append(measured)


@contextmanager
def triton_of(arguments: argparse.Namespace) -> Iterator[str]:
    if arguments.triton:
        yield arguments.triton
        return
    from fakes.token_triton import token_triton

    runtime = find_triton_cpu(environment.cache_home(), environment.runtime_override("triton-cpu"))
    with token_triton(runtime) as server:
        yield server.address


def head() -> None:
    print(
        f"{'streams':>7} {'what':12} {'us/token':>8} {'of first':>8} {'tokens/s':>9} "
        f"{'first ms':>8} {'RSS MB':>7}"
    )


def report(streams: int, rounds: dict[str, list[Measured]]) -> None:
    base = median(one.cpu_us for one in next(iter(rounds.values())))
    for name, measured in rounds.items():
        cpu = median(one.cpu_us for one in measured)
        memory = max(one.resident_mb for one in measured)
        print(
            f"{streams:7} {name:12} {cpu:8.1f} {cpu / base:8.2f} "
            f"{median(one.tokens_per_second for one in measured):9.0f} "
            f"{median(one.first_token_ms for one in measured):8.1f} "
            f"{f'{memory:7.0f}' if memory else ''}",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", type=Path, help="for its tokenizer and template")
    parser.add_argument("--triton", help="host:port of a Triton with the token model")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--lengths", type=int, nargs="+", default=[100, 8000], help="of answers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--drive", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    drive() if arguments.drive else main(arguments)
