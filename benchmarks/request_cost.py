"""What a request costs beside its tokens: CPU time, and what the gateway adds to the first token.

    python benchmarks/request_cost.py [--against TREE] [--clients 1 8] [--long 100000]

The servers behind the gateway are stand-ins in a process of their own that answer two tokens at
once: a Triton (grpc.aio) and a server of the OpenAI API. Clients keep their connections. Only the
gateway's own CPU time counts. `--against` is another checkout of this repository, whose gateway is
measured in turns with this one's; so is this one's with the options in `--with`, such as
`--with=--otlp-traces-endpoint=http://127.0.0.1:4318`. With --long, a conversation of that many
tokens gets one turn after the other.
Compare the ratios; the absolute numbers are the machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import uvloop
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

# ruff: noqa: E402, the path comes first
from fakes.scripted_triton import scripted_engine
from fakes.token_triton import free_ports

from benchmarks.process_usage import cpu_seconds
from enginix.triton.client.messages import SCALARS

# Name -> process and port.
Ends = dict[str, tuple[int, int]]

CHAT = "/v1/chat/completions"
SHORT = "Say hello in three languages and name the capital of France."
ANSWER = (46, 47)
EVENT = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"theirs","choices":'
EVENTS = b"".join(
    EVENT + delta
    for delta in (
        b'[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n',
        b'[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    )
)
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAM = SSE + b"%x\r\n%b\r\n" % (len(EVENTS), EVENTS) + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


class StandIn(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """A Triton that answers every request with the tokens of ANSWER."""

    async def ModelConfig(self, request: Any, context: Any) -> Any:
        names = ("input_ids", "input_lengths", "request_output_len", "streaming", "end_id", "seed")
        config = model_config_pb2.ModelConfig(name=request.name)
        for name in (*names, *(tensor for _, tensor, _, _ in SCALARS)):
            config.input.add(name=name)
        config.output.add(name="output_ids")
        return service_pb2.ModelConfigResponse(config=config)

    async def ModelStreamInfer(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            for token in ANSWER:
                response = service_pb2.ModelInferResponse(model_name="tensorrt_llm", id=request.id)
                response.outputs.add(name="output_ids", datatype="INT32", shape=(1, 1, 1))
                response.raw_output_contents.append(token.to_bytes(4, "little"))
                last = token == ANSWER[-1]
                response.parameters["triton_final_response"].bool_param = last
                yield service_pb2.ModelStreamInferResponse(infer_response=response)


class Canned(asyncio.Protocol):
    """A server of the OpenAI API that answers every request with the same stream."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._read = b""

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, end, body = self._read.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        if end and len(body) >= length:
            self._read = b""
            self._transport.write(STREAM)


async def serve(grpc_port: int, http_port: int) -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 64 << 20)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(StandIn(), server)
    server.add_insecure_port(f"127.0.0.1:{grpc_port}")
    await server.start()
    loop = asyncio.get_running_loop()
    await loop.create_server(Canned, "127.0.0.1", http_port)
    print("ready", flush=True)
    await server.wait_for_termination()


class Client(asyncio.Protocol):
    """Sends one request after the other and notes when the first token of each answer came."""

    def __init__(self) -> None:
        self._read = b""
        self.first = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    async def ask(self, request: bytes) -> float:
        """Seconds until the first token."""
        self._read, self.first = b"", 0.0
        self._whole = asyncio.get_running_loop().create_future()
        started = time.perf_counter()
        self._transport.write(request)
        await self._whole
        return self.first - started

    def data_received(self, data: bytes) -> None:
        self._read += data
        if not self.first and b'"content":"' in data:
            self.first = time.perf_counter()
        if self._read.endswith(b"0\r\n\r\n"):
            right = self._read.startswith(b"HTTP/1.1 200") and self.first
            if not self._whole.done():
                self._whole.set_result(None) if right else self._fail()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._whole.done():
            self._fail()

    def _fail(self) -> None:
        self._whole.set_exception(ConnectionError(f"a wrong answer: {self._read[:500]!r}"))


def request_of(model: str, messages: list[dict[str, Any]]) -> bytes:
    body = {"model": model, "messages": messages, "stream": True, "temperature": 0}
    content = json.dumps(body | {"max_tokens": 16}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(content)}\r\n"
    return f"{head}content-type: application/json\r\n\r\n".encode() + content


async def drive(port: int, request: bytes, clients: int, requests: int) -> list[float]:
    loop = asyncio.get_running_loop()
    ends = [await loop.create_connection(Client, "127.0.0.1", port) for _ in range(clients)]

    async def one(client: Client) -> list[float]:
        return [await client.ask(request) for _ in range(requests // clients)]

    firsts = await asyncio.gather(*(one(client) for _, client in ends))
    for transport, client in ends:
        client._whole.cancel()
        transport.close()
    return [first for each in firsts for first in each]


def measured(
    pid: int, port: int, request: bytes, clients: int, requests: int
) -> tuple[float, float]:
    """CPU milliseconds per request, and the median to the first token."""
    before = cpu_seconds(pid)
    firsts = uvloop.run(drive(port, request, clients, requests))
    return (cpu_seconds(pid) - before) / len(firsts) * 1e3, median(firsts) * 1e3


@contextmanager
def running(command: list[str], ready: str, tree: Path = ROOT) -> Iterator[int]:
    environment = {**os.environ, "PYTHONPATH": str(tree / "python")}
    process = subprocess.Popen(
        [sys.executable, *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        assert process.stdout
        for line in process.stdout:
            if ready.encode() in line:
                break
        else:
            raise SystemExit(f"{command} ended before it was ready")
        yield process.pid
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def gateways(trees: dict[str, Path], models: Path, options: list[str]) -> Iterator[Ends]:
    """`options`: of the one that is called `with`."""
    with ExitStack() as stack:
        found = {}
        for (name, tree), port in zip(trees.items(), free_ports(len(trees)), strict=True):
            command = ["-m", "enginix", "openai", f"--models={models}", f"--port={port}"]
            command += ["--no-access-log", *(options if name == "with" else [])]
            pid = stack.enter_context(running(command, "startup complete", tree))
            found[name] = (pid, port)
        yield found


def conversation(tokens: int) -> list[dict[str, Any]]:
    """Of about so many tokens: an agent that reads files."""
    source = "\n".join(path.read_text() for path in sorted((ROOT / "python").glob("**/*.py")))
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Find the error."}]
    for start in range(0, int(tokens * 2.4), 3000):
        messages.append({"role": "assistant", "content": "I read the next file."})
        messages.append({"role": "user", "content": source[start : start + 3000]})
    return messages


def show(what: str, rounds: dict[str, list[tuple[float, float]]], floor: float) -> None:
    base = None
    for name, each in rounds.items():
        cpu, first = (median(values) for values in zip(*each, strict=True))
        base = base or cpu
        print(f"{what:24} {name:8} {cpu:8.3f} {cpu / base:6.2f} {first - floor:10.2f}", flush=True)


def main(arguments: argparse.Namespace) -> None:
    trees = {"this": ROOT}
    if arguments.against:
        trees = {"against": arguments.against, **trees}
    if arguments.options:
        trees["with"] = ROOT
    grpc_port, http_port = free_ports(2)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engine = scripted_engine(directory / "triton", "triton", "hermes-json")
        rows = [
            {"name": "triton", "directory": str(engine), "address": f"127.0.0.1:{grpc_port}"},
            {"name": "passed", "url": f"http://127.0.0.1:{http_port}", "upstream": "theirs"},
        ]
        (directory / "models.json").write_text(json.dumps({"models": rows}))
        stack.enter_context(running([__file__, "--serve", str(grpc_port), str(http_port)], "ready"))
        ends = stack.enter_context(gateways(trees, directory / "models.json", arguments.options))
        print(f"{'':24} {'':8} {'CPU ms':>8} {'ratio':>6} {'adds ms':>10}")
        short_prompts(ends, arguments, http_port)
        if arguments.long:
            long_prompts(ends, arguments)


def short_prompts(ends: Ends, arguments: argparse.Namespace, http_port: int) -> None:
    short = [{"role": "user", "content": SHORT}]
    _, direct = measured(os.getpid(), http_port, request_of("theirs", short), 1, 300)
    for model, floor in (("passed", direct), ("triton", 0.0)):
        request = request_of(model, short)
        for clients in arguments.clients:
            rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in ends}
            for _ in range(arguments.rounds):
                for name, (pid, port) in ends.items():
                    one = measured(pid, port, request, clients, arguments.requests)
                    rounds[name].append(one)
            show(f"{model}, {clients} at once", rounds, floor)


def long_prompts(ends: Ends, arguments: argparse.Namespace) -> None:
    """Each turn repeats the conversation and adds two messages."""
    messages = conversation(arguments.long)
    for turn in range(4):
        messages = [
            *messages,
            {"role": "assistant", "content": "Yes."},
            {"role": "user", "content": "Next."},
        ]
        request = request_of("triton", messages)
        for name, (pid, port) in ends.items():
            cpu, first = measured(pid, port, request, 1, 1)
            what = f"{len(request) >> 10} KB, turn {turn + 1}"
            print(f"{what:24} {name:8} {cpu:8.1f} {'':6} {first:10.1f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, metavar="TREE", help="another checkout")
    parser.add_argument("--with", dest="options", action="append", default=[], metavar="OPTION")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--long", type=int, default=100_000, metavar="TOKENS")
    parser.add_argument("--serve", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    asyncio.run(serve(*arguments.serve)) if arguments.serve else main(arguments)
