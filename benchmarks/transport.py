"""CPU per token of this package's two transports and of a bare grpc.aio client, in one run.

Needs a Triton with the zero-delay model of tests/fakes/token_model:

    python benchmarks/transport.py --address localhost:8001 [--streams 1 8 32 128] [--rounds 3]

All clients send the same request, count and check every token, and take turns, so that noise
affects all of them equally. Compare the ratios; the absolute numbers are the machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import struct
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from statistics import median

import grpc
import uvloop
from tritonclient.grpc import service_pb2, service_pb2_grpc

from enginix.triton.client.client import TokenRequest, TritonClient
from enginix.triton.client.messages import build_request

PROMPT = list(range(1000, 1300))
WARM_UP_SECONDS = 0.5

Answer = AsyncGenerator[tuple[int, ...], None]
Ask = Callable[[], Answer]


@dataclass(frozen=True, slots=True)
class Measured:
    cpu_us: float
    tokens_per_second: float
    tokens_per_read: float
    first_token_ms: float


@dataclass(slots=True)
class Tally:
    """The counts of one measurement."""

    tokens: int = 0
    reads: int = 0
    wrong: int = 0


def bare(address: str, message: bytes) -> Ask:
    """Plain grpc.aio: the generated stub, write, read until the end."""
    stub = service_pb2_grpc.GRPCInferenceServiceStub(grpc.aio.insecure_channel(address))
    request = service_pb2.ModelInferRequest.FromString(message)

    async def ask() -> Answer:
        call = stub.ModelStreamInfer()
        await call.write(request)
        await call.done_writing()
        while (response := await call.read()) is not grpc.aio.EOF:
            raw = response.infer_response.raw_output_contents[0]
            yield struct.unpack(f"<{len(raw) >> 2}i", raw)

    return ask


def ours(client: TritonClient, request: TokenRequest) -> Ask:
    async def ask() -> Answer:
        async with aclosing(client.generate(request)) as answer:
            async for chunks in answer:
                yield tuple(token for chunk in chunks for token in chunk.ids)

    return ask


async def ask_repeatedly(ask: Ask, until: float, tally: Tally, firsts: list[float]) -> None:
    while (started := time.perf_counter()) < until:
        position = 0
        async with aclosing(ask()) as answer:
            async for ids in answer:
                if position == 0:
                    firsts.append(time.perf_counter() - started)
                tally.reads += 1
                tally.wrong += list(ids) != PROMPT[position : position + len(ids)]
                position += len(ids)
        tally.tokens += position
        tally.wrong += position != len(PROMPT)


async def measure(ask: Ask, streams: int, seconds: float) -> Measured:
    firsts: list[float] = []
    for length in (WARM_UP_SECONDS, seconds):
        tally = Tally()
        firsts.clear()
        started, cpu = time.perf_counter(), time.process_time()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(streams):
                tasks.create_task(ask_repeatedly(ask, started + length, tally, firsts))
        cpu = time.process_time() - cpu
    if tally.wrong:
        raise SystemExit(f"{tally.wrong} answers were wrong")
    return Measured(
        cpu_us=cpu / tally.tokens * 1e6,
        tokens_per_second=tally.tokens / (time.perf_counter() - started),
        tokens_per_read=tally.tokens / tally.reads,
        first_token_ms=median(firsts) * 1e3,
    )


async def main(arguments: argparse.Namespace) -> None:
    request = TokenRequest(prompt_ids=PROMPT, max_tokens=len(PROMPT))
    clients = {
        name: TritonClient(arguments.address, arguments.model, transport=name)
        for name in ("grpc-aio", "http2")
    }
    message = build_request(request, await clients["http2"].tensor_names(), None)
    asks = {"bare": bare(arguments.address, message)}
    asks |= {name: ours(client, request) for name, client in clients.items()}
    print(
        f"{'streams':>7} {'client':10} {'us/token':>8} {'of bare':>7} {'tokens/s':>9} "
        f"{'per read':>8} {'first ms':>8}"
    )
    for streams in arguments.streams:
        rounds: dict[str, list[Measured]] = {name: [] for name in asks}
        for _ in range(arguments.rounds):
            for name, ask in asks.items():
                rounds[name].append(await measure(ask, streams, arguments.seconds))
        report(streams, rounds)
    for client in clients.values():
        await client.close()


def report(streams: int, rounds: dict[str, list[Measured]]) -> None:
    base = median(one.cpu_us for one in rounds["bare"])
    for name, all_rounds in rounds.items():
        cpu = median(one.cpu_us for one in all_rounds)
        print(
            f"{streams:7} {name:10} {cpu:8.1f} {cpu / base:7.2f} "
            f"{median(one.tokens_per_second for one in all_rounds):9.0f} "
            f"{median(one.tokens_per_read for one in all_rounds):8.2f} "
            f"{median(one.first_token_ms for one in all_rounds):8.1f}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="localhost:8001")
    parser.add_argument("--model", default="tensorrt_llm")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    uvloop.run(main(parser.parse_args()))
