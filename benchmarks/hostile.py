"""What other streams notice of hostile requests: the gaps between their tokens, with and without.

    python benchmarks/hostile.py [--streams 8] [--rounds 5] [--seconds 4] [--home DIR]

Streams of the demo model run in a process of their own, which records when each event arrives.
They run alone, beside ordinary requests of another client, and beside floods of as many concurrent
requests: guides that are refused by their numbers, guides that take the trial process to its
limits, and conversations for a model whose chat template never ends. Compare a flood with the
ordinary requests: all of them share the cores. A plain shell is the harder case: in the root
control group the kernel shares each core between sessions, whatever their nice values are.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
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
from benchmarks.soaking.profile import Profile, free_ports, running
from benchmarks.soaking.questions import CHAT, HEAVY_GUIDES, HOSTILE_GUIDES, guided, user

TOKENS = 250
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
ORDINARY = {"model": "demo", "messages": user("What is 2 + 3?"), "temperature": 0}
PAUSE = 0.01
FLOODS = ("alone", "ordinary", "refused guides", "heavy guides", "endless template")


async def stream_on(url: str, until: float, gaps: list[float]) -> None:
    host, port = url.removeprefix("http://").split(":")
    body = json.dumps(
        {**ORDINARY, "stream": True, "max_tokens": TOKENS, "ignore_eos": True}
    ).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(body)}\r\n"
    reader, writer = await asyncio.open_connection(host, int(port))
    while time.perf_counter() < until:
        writer.write(f"{head}content-type: application/json\r\n\r\n".encode() + body)
        last = 0.0
        while not (chunk := await reader.read(65536)).endswith(b"0\r\n\r\n"):
            if not chunk:
                raise SystemExit("a stream broke off")
            now = time.perf_counter()
            if last:
                gaps.append(now - last)
            last = now
    writer.close()


def measure(url: str, streams: int, seconds: float) -> None:
    """In a process of its own: prints the quantiles of the gaps, in milliseconds."""

    async def run() -> list[float]:
        gaps: list[float] = []
        until = time.perf_counter() + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(streams):
                group.create_task(stream_on(url, until, gaps))
        return gaps

    # A round in which nothing came twice is one long gap.
    gaps = sorted(asyncio.run(run()) or [seconds])
    quantiles = [gaps[int(share * (len(gaps) - 1))] * 1e3 for share in (0.5, 0.99)]
    print(json.dumps([*quantiles, gaps[-1] * 1e3, len(gaps)]))


def body_of(flood: str, chance: random.Random) -> dict[str, object]:
    if flood == "ordinary":
        return ORDINARY
    if flood == "endless template":
        return {**ORDINARY, "model": "endless"}
    kind, text = chance.choice(HEAVY_GUIDES if flood == "heavy guides" else HOSTILE_GUIDES)
    if flood == "heavy guides":
        text = text.format(chance.randrange(10**9))
    return {**ORDINARY, "max_tokens": 2, **guided("demo", kind, text)}


async def flood_on(url: str, flood: str, at_once: int, seen: dict[int, int]) -> None:
    """Runs until cancelled. A pause between requests keeps refusals from a busy loop."""
    async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False) as client:

        async def send(seed: int) -> None:
            chance = random.Random(seed)
            while True:
                answer = await client.post(CHAT, json=body_of(flood, chance))
                seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
                await asyncio.sleep(PAUSE)

        async with asyncio.TaskGroup() as group:
            for seed in range(at_once):
                group.create_task(send(time.monotonic_ns() + seed))


async def one_round(url: str, flood: str, arguments: argparse.Namespace) -> list[float]:
    seen: dict[int, int] = {}
    task = None
    if flood != "alone":
        task = asyncio.create_task(flood_on(url, flood, arguments.at_once, seen))
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "--measure", url),
        *(f"--streams={arguments.streams}", f"--seconds={arguments.seconds}"),
        stdout=subprocess.PIPE,
    )
    out, _ = await child.communicate()
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    numbers: list[float] = json.loads(out)
    return [*numbers, sum(seen.values())]


@contextmanager
def gateway(profile: Profile, directory: Path) -> Iterator[str]:
    """One more in front of the profile's Triton, with a model whose template never ends."""
    assert profile.home is not None
    engine = profile.home / "engines" / "demo"
    endless = directory / "endless"
    shutil.copytree(engine, endless, ignore=shutil.ignore_patterns("*.gguf"))
    (endless / "chat_template.jinja").write_text(ENDLESS)
    rows = [
        {"name": name, "directory": str(path), "address": profile.grpc}
        for name, path in (("demo", engine), ("endless", endless))
    ]
    models = directory / "models.json"
    models.write_text(json.dumps({"models": rows}))
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "enginix", "openai", f"--models={models}", f"--port={port}"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        while child.poll() is None:
            try:
                if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield url
    finally:
        child.terminate()
        child.wait()


def main(arguments: argparse.Namespace) -> None:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        profile = stack.enter_context(running(arguments.home or directory / "home"))
        url = stack.enter_context(gateway(profile, directory))
        rounds: dict[str, list[list[float]]] = {}
        for number in range(arguments.rounds + 1):
            for flood in FLOODS:
                seen = asyncio.run(one_round(url, flood, arguments))
                # The first compiles guides, fills caches and is not counted.
                if number:
                    rounds.setdefault(flood, []).append(seen)
    print(f"{'beside':18} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8} {'events':>8} {'requests':>9}")
    for flood, rows in rounds.items():
        values = [median(row[place] for row in rows) for place in range(5)]
        print("{:18} {:8.2f} {:8.2f} {:8.1f} {:8.0f} {:9.0f}".format(flood, *values))
    base = [row[1] for row in rounds["ordinary"]]
    for flood in FLOODS[2:]:
        more = median(row[1] - one for row, one in zip(rounds[flood], base, strict=True))
        print(f"{flood}: p99 {more:+.2f} ms against ordinary requests, median of the rounds")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--at-once", type=int, default=4, help="requests of a flood")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--home", type=Path, metavar="DIR", help="where engines are and stay")
    parser.add_argument("--measure", metavar="URL", help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.measure:
        measure(parsed.measure, parsed.streams, parsed.seconds)
    else:
        main(parsed)
