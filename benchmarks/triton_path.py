"""The cost of Triton: an engine's tokens/s through Triton and in process, alternating in one run.

    python benchmarks/triton_path.py --engine DIR --triton localhost:8001 [--parallel 1 8]

Needs the engine served (`enginix triton DIR --threads 1`) and the triton-cpu runtime. Both sides
answer the same prompts greedily with the same settings, and every token is counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import time
from contextlib import aclosing
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from enginix.cli import environment
from enginix.gguf_header import read_header
from enginix.manifest import Manifest, read_manifest
from enginix.runtimes.find import find_triton_cpu
from enginix.triton.client.client import TokenRequest, TritonClient

PROMPTS_PER_SLOT = 3
HIGHEST_TOKEN = 1000


class InProcess:
    def __init__(self, engine: Path, manifest: Manifest, threads: int) -> None:
        runtime = find_triton_cpu(
            environment.cache_home(), environment.runtime_override("triton-cpu")
        )
        limits = (manifest.limits.max_batch_size, manifest.limits.max_seq_len, threads)
        command = [runtime.python, Path(__file__).with_name("in_process.py"), engine / "model.gguf"]
        self._child = subprocess.Popen(
            [*map(str, command), *map(str, limits)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # In its own session, like the server: Linux divides a busy CPU between sessions.
            start_new_session=True,
        )

    async def measure(self, task: dict[str, Any]) -> tuple[float, list[list[int]]]:
        assert self._child.stdin
        assert self._child.stdout
        self._child.stdin.write(json.dumps(task) + "\n")
        self._child.stdin.flush()
        answer = json.loads(await asyncio.to_thread(self._child.stdout.readline))
        return answer["seconds"], answer["answers"]

    def close(self) -> None:
        self._child.communicate()


class ThroughTriton:
    def __init__(self, address: str) -> None:
        self._client = TritonClient(address)

    async def measure(self, task: dict[str, Any]) -> tuple[float, list[list[int]]]:
        slots = asyncio.Semaphore(task["parallel"])

        async def one(prompt: list[int]) -> list[int]:
            request = TokenRequest(prompt, task["max_tokens"])
            async with slots, aclosing(self._client.generate(request)) as answer:
                return [token async for chunks in answer for chunk in chunks for token in chunk.ids]

        started = time.perf_counter()
        answers = await asyncio.gather(*map(one, task["prompts"]))
        return time.perf_counter() - started, answers

    async def close(self) -> None:
        await self._client.close()


async def main(arguments: argparse.Namespace) -> None:
    manifest = read_manifest(arguments.engine)
    in_process = InProcess(arguments.engine, manifest, arguments.threads)
    triton = ThroughTriton(arguments.triton)
    print(f"{manifest.name}, {parameters(arguments.engine) / 1e6:.0f} M parameters")
    print(f"{'parallel':>8} {'in process':>11} {'Triton':>8} {'of it':>6} {'us/token more':>14}")
    for parallel in arguments.parallel:
        alone, served = [], []
        for number in range(arguments.rounds):
            task = make_task(parallel, arguments.prompt, arguments.tokens, seed=number)
            seconds, expected = await in_process.measure(task)
            alone.append(sum(map(len, expected)) / seconds)
            seconds, found = await triton.measure(task)
            served.append(sum(map(len, found)) / seconds)
            # Not always equal: the requests that share a step decide a near tie between tokens.
            if [len(answer) for answer in found] != [len(answer) for answer in expected]:
                sys.exit("tokens were lost on the way through Triton")
        report(parallel, median(alone), median(served))
    in_process.close()
    await triton.close()


def parameters(engine: Path) -> int:
    """The number of the model's weights, without scales."""
    tensors = read_header(engine / "model.gguf").tensors
    return sum(prod(tensor.shape) for tensor in tensors if not tensor.name.endswith("scale"))


def make_task(parallel: int, prompt_tokens: int, max_tokens: int, seed: int) -> dict[str, Any]:
    # New prompts: prefix caching would make the second side faster.
    chance = random.Random(seed)
    prompts = [
        [chance.randrange(HIGHEST_TOKEN) for _ in range(prompt_tokens)]
        for _ in range(parallel * PROMPTS_PER_SLOT)
    ]
    return {"prompts": prompts, "max_tokens": max_tokens, "parallel": parallel}


def report(parallel: int, alone: float, served: float) -> None:
    more = (1 / served - 1 / alone) * 1e6
    print(f"{parallel:8} {alone:11.0f} {served:8.0f} {served / alone:6.2f} {more:14.0f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", type=Path, required=True)
    parser.add_argument("--triton", default="localhost:8001", help="host:port of its gRPC")
    parser.add_argument("--parallel", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--prompt", type=int, default=64, help="tokens of a prompt")
    parser.add_argument("--tokens", type=int, default=256, help="tokens of an answer")
    parser.add_argument("--threads", type=int, default=1, help="llama.cpp's, as the server's")
    parser.add_argument("--rounds", type=int, default=3)
    uvloop.run(main(parser.parse_args()))
