"""The CPU default against what a user would pick instead: llama-server with the same GGUF file.

    python benchmarks/cpu_default.py [--engine DIR] [--parallel 1 8] [--rounds 3] [--busy 1]

Without an engine it makes one of about 106 M random parameters. Both servers run all the time and
are asked in turns, with prompts that neither has seen; both answer to the last token, in SSE. The
Triton road is the whole one: gateway, Triton, model. `--busy` programs that never sleep run beside
them, in a session each, as an editor's indexer or a compiler would.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import httpx

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "python")]

# ruff: noqa: E402, the path comes first
from benchmarks.front_ends import running
from benchmarks.soaking.profile import free_ports
from enginix.cli import environment
from enginix.manifest import read_manifest
from enginix.runtimes.find import find_triton_cpu

SIZE = ("--hidden=576", "--layers=30", "--heads=9", "--kv-heads=3", "--head-dim=64")
SIZE += ("--intermediate=1536", "--vocab=2048", "--context=2048", "--tied")
OPENMP = ("OMP_", "GOMP_")
# Nearly all of the 2,048 that a random checkpoint's tokenizer spells; others make no event.
HIGHEST_TOKEN = 2_000


def made(place: Path) -> Path:
    maker = ROOT / "tools" / "demo-checkpoint" / "make_random.py"
    subprocess.run([sys.executable, maker, place / "checkpoint", *SIZE], check=True)
    build = ["build", "--checkpoint", place / "checkpoint", "--name", "random-106m"]
    build += ["--max-batch-size", "8", "--out", place / "engine"]
    subprocess.run([sys.executable, "-m", "enginix", "engine", *build], check=True)
    return place / "engine"


def servers(engine: Path, stack: ExitStack) -> dict[str, tuple[str, str]]:
    """Name -> URL and model."""
    gateway, http, grpc, metrics, llama = free_ports(5)
    runtime = find_triton_cpu(environment.cache_home(), environment.runtime_override("triton-cpu"))
    manifest = read_manifest(engine)
    limits = manifest.limits
    enginix = (sys.executable, "-m", "enginix")
    triton = [*enginix, "triton", str(engine), f"--http-port={http}", f"--grpc-port={grpc}"]
    triton.append(f"--metrics-port={metrics}")
    openai = [*enginix, "openai", str(engine), f"--triton=127.0.0.1:{grpc}", f"--port={gateway}"]
    program = ROOT / "python" / "enginix" / "serve" / "llama_server.py"
    llama_server = [str(runtime.python), str(program), f"--model={engine / 'model.gguf'}"]
    llama_server += ["--alias=model", f"--port={llama}", f"--parallel={limits.max_batch_size}"]
    llama_server.append(f"--context={limits.max_seq_len}")
    # As a user starts it, without what enginix sets for OpenMP.
    plain = {key: value for key, value in os.environ.items() if not key.startswith(OPENMP)}
    own, theirs = (f"http://127.0.0.1:{port}" for port in (gateway, llama))
    # A session each, as in `enginix up`: Linux divides a busy processor between sessions.
    for command, ready, variables in (
        (triton, f"http://127.0.0.1:{http}/v2/health/ready", None),
        (openai, f"{own}/health", None),
        (llama_server, f"{theirs}/health", plain),
    ):
        stack.enter_context(running(command, ready, variables, session=True))
    return {"enginix": (own, manifest.name), "llama-server": (theirs, "model")}


async def answer(client: httpx.AsyncClient, body: dict[str, object]) -> tuple[float, float, int]:
    """Seconds until the first token and until the end, and the number of tokens."""
    began = time.perf_counter()
    first = 0.0
    tokens = 0
    async with client.stream("POST", "/v1/completions", json=body) as response:
        if response.status_code != 200:
            raise SystemExit((await response.aread()).decode())
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line.removeprefix("data: "))
            first = first or time.perf_counter() - began
            if event.get("usage"):
                tokens = event["usage"]["completion_tokens"]
    return first, time.perf_counter() - began, tokens


async def round_of(
    url: str, model: str, parallel: int, arguments: argparse.Namespace, chance: random.Random
) -> tuple[float, float]:
    """Tokens a second of all requests together, and the median of their first tokens, in ms."""
    bodies = [
        {
            "model": model,
            "prompt": [chance.randrange(3, HIGHEST_TOKEN) for _ in range(arguments.prompt)],
            "max_tokens": arguments.tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        for _ in range(parallel)
    ]
    async with httpx.AsyncClient(base_url=url, timeout=600) as client:
        began = time.perf_counter()
        ends = await asyncio.gather(*(answer(client, body) for body in bodies))
        seconds = time.perf_counter() - began
    tokens = sum(each[2] for each in ends)
    if tokens != parallel * arguments.tokens:
        raise SystemExit(f"{model} answered {tokens} tokens of {parallel * arguments.tokens}")
    return tokens / seconds, median(each[0] for each in ends) * 1e3


def main() -> None:
    arguments = parsed()
    chance = random.Random(arguments.seed)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engine = arguments.engine or made(place)
        found = servers(engine, stack)
        for url, model in found.values():
            asyncio.run(round_of(url, model, 1, arguments, chance))
        print(
            f"load {os.getloadavg()[0]:.1f}; {arguments.prompt} tokens in, {arguments.tokens} out"
        )
        stack.enter_context(busy(arguments.busy))
        print(f"{'parallel':>8} {'server':<13} {'tokens/s':>9} {'first token, ms':>16}")
        for parallel in arguments.parallel:
            seen: dict[str, list[tuple[float, float]]] = {name: [] for name in found}
            for _ in range(arguments.rounds):
                for name, (url, model) in found.items():
                    seen[name].append(
                        asyncio.run(round_of(url, model, parallel, arguments, chance))
                    )
            middle = {
                name: tuple(median(column) for column in zip(*rounds, strict=True))
                for name, rounds in seen.items()
            }
            for name, (speed, first) in middle.items():
                print(f"{parallel:8} {name:<13} {speed:9.1f} {first:16.0f}")
            ours, theirs = middle["enginix"], middle["llama-server"]
            ratios = (ours[0] / theirs[0], ours[1] / theirs[1])
            print(f"{'':8} {'ratio':<13} {ratios[0]:9.2f} {ratios[1]:16.2f}")


@contextmanager
def busy(programs: int) -> Iterator[None]:
    command = [sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(command, start_new_session=True) for _ in range(programs)]
    try:
        yield
    finally:
        for each in running:
            each.kill()
            each.wait()


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", type=Path, help="an engine of the kind gguf")
    parser.add_argument("--parallel", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt", type=int, default=64, help="tokens (%(default)s)")
    parser.add_argument("--tokens", type=int, default=96, help="of an answer (%(default)s)")
    parser.add_argument("--busy", type=int, default=0, metavar="N", help="programs beside them")
    parser.add_argument("--seed", type=int, default=1, help="of the prompts (%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
