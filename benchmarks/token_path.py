"""What a streamed token costs the gateway at an engine's own pace, beside a relay that only copies.

    python benchmarks/token_path.py --engine DIR [--streams 32 256 1000] [--check TABLE]

`--engine` gives the tokenizer and the template. Tokens come from an engine with a set pace
(paced/engine.py): in `burst` every stream gets its token at the same moment, as an engine's step
emits them; in `spread` each has its own moment; `full` is as fast as they are read. In turns, in
one run: a relay in C, compiled on the spot (a Python one without a compiler), the gateway, and, on
the gateway's stream, front ends that pass it on: ours, and others where they are installed.
`--check` holds the ratios to a table that `--record` wrote, and ends with status 1 beyond 15 %.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

# ruff: noqa: E402, the path comes first
from benchmarks.front_ends import (
    find_litellm,
    find_routers,
    free_port,
    litellm,
    passing_on,
    router,
)
from benchmarks.gateway import chat_request, roomy, running_gateway
from benchmarks.paced.client import CONTENT, Seen, Task

PACED = Path(__file__).parent / "paced"
PATTERNS = {"burst": ("burst", 50.0), "spread": ("spread", 50.0), "full": ("burst", 0.0)}
FLOOR = "relay"
MOST_TOKENS = 900_000
BEYOND = 0.15


class Child:
    """A program that answers a line with a line."""

    def __init__(self, *command: object) -> None:
        self._process = subprocess.Popen(
            [str(each) for each in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._process.args} has ended")
        return line

    def ask(self, question: str) -> str:
        assert self._process.stdin
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        return self.line()

    def close(self) -> None:
        self._process.communicate()


@contextmanager
def relay(directory: Path, upstream: int) -> Iterator[tuple[int, int]]:
    """Its port and process."""
    port = free_port()
    command: list[object] = [sys.executable, PACED / "relay.py", port, upstream]
    compiler = shutil.which("cc")
    if compiler:
        program = directory / "relay"
        subprocess.run([compiler, "-O2", "-o", program, PACED / "relay.c"], check=True)
        command = [program, port, upstream]
    else:
        print("no C compiler here: the relay is the Python one")
    child = subprocess.Popen([str(each) for each in command])
    try:
        yield port, child.pid
    finally:
        child.kill()
        child.wait()


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def chat(url: str) -> str:
    return chat_request(url, MOST_TOKENS).decode()


def roads(
    arguments: argparse.Namespace, stack: ExitStack, grpc: int, bare: int
) -> dict[str, dict[str, Any]]:
    """Name -> the fields of its tasks."""
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    port, pid = stack.enter_context(relay(directory, bare))
    found = {FLOOR: {"port": port, "pid": pid, "request": "GET\n", "token": "~"}}
    engine = roomy(arguments.engine, directory)
    gateway = stack.enter_context(running_gateway(engine, f"127.0.0.1:{grpc}", "http2"))
    ends = {"gateway": (gateway.url, gateway.pid)}
    if not arguments.only_gateway:
        ends["passed on"] = stack.enter_context(passing_on(gateway.url))
        if program := find_litellm(arguments.litellm):
            ends["litellm"] = stack.enter_context(litellm(program, gateway.url))
        for name, program in find_routers(arguments.routers).items():
            ends[name] = stack.enter_context(router(name, program, gateway.url))
    for name, (url, process) in ends.items():
        fields = {"port": port_of(url), "pid": process, "request": chat(url)}
        found[name] = {**fields, "token": CONTENT.decode()}
    return found


def measure(arguments: argparse.Namespace) -> dict[str, dict[str, Seen]]:
    """`pattern, streams` -> what was measured of each road, in turns, medians of the rounds."""
    with ExitStack() as stack:
        engine, client = (
            Child(sys.executable, PACED / name) for name in ("engine.py", "client.py")
        )
        stack.callback(engine.close)
        stack.callback(client.close)
        grpc, bare = map(int, engine.line().split())
        found: dict[str, dict[str, Seen]] = {}
        tasks = roads(arguments, stack, grpc, bare)
        for pattern in arguments.patterns:
            kind, rate = PATTERNS[pattern]
            for streams in arguments.streams:
                engine.ask(f"{kind} {rate}")
                rows: dict[str, list[Seen]] = {name: [] for name in tasks}
                for _ in range(arguments.rounds):
                    for name, fields in tasks.items():
                        task = Task(streams=streams, seconds=arguments.seconds, **fields)
                        seen = json.loads(client.ask(json.dumps(asdict(task))))
                        rows[name].append(Seen(**seen))
                found[f"{pattern}, {streams} streams"] = report(pattern, streams, rows)
    return found


def report(pattern: str, streams: int, rows: dict[str, list[Seen]]) -> dict[str, Seen]:
    middle = {
        name: Seen(*(median(column) for column in zip(*map(values, seen), strict=True)))
        for name, seen in rows.items()
    }
    for name, seen in middle.items():
        ratio = seen.cpu_us / middle[FLOOR].cpu_us
        print(
            f"{pattern:7} {streams:7} {name:13} {seen.cpu_us:8.1f} {ratio:8.2f} "
            f"{seen.tokens_per_second:9.0f} {seen.gap_p99_ms:11.1f} {seen.resident_mb:7.0f}",
            flush=True,
        )
    return middle


def values(seen: Seen) -> tuple[float, ...]:
    return seen.cpu_us, seen.tokens_per_second, seen.gap_p99_ms, seen.resident_mb


def ratios(found: dict[str, dict[str, Seen]]) -> dict[str, dict[str, float]]:
    return {
        case: {
            name: round(seen.cpu_us / rows[FLOOR].cpu_us, 2)
            for name, seen in rows.items()
            if name != FLOOR
        }
        for case, rows in found.items()
    }


def main() -> int:
    arguments = parsed()
    print(
        f"{'pattern':7} {'streams':>7} {'road':13} {'us/token':>8} {'of relay':>8} "
        f"{'tokens/s':>9} {'gap p99, ms':>11} {'RSS MB':>7}"
    )
    now = ratios(measure(arguments))
    if arguments.record:
        arguments.record.write_text(json.dumps(now, indent=2) + "\n")
    if not arguments.check:
        return 0
    table = json.loads(arguments.check.read_text())
    worse = [
        f"{name} at {case}: {value} times the relay, recorded {table[case][name]}"
        for case, row in now.items()
        for name, value in row.items()
        if name in table.get(case, {}) and value > table[case][name] * (1 + BEYOND)
    ]
    for sentence in worse:
        print(f"worse: {sentence}")
    return 1 if worse else 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", type=Path, required=True, help="for tokenizer and template")
    parser.add_argument("--streams", type=int, nargs="+", default=[32, 256, 1000])
    parser.add_argument("--patterns", nargs="+", choices=PATTERNS, default=list(PATTERNS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--litellm", type=Path, metavar="VENV", help="where litellm[proxy] is")
    parser.add_argument("--routers", type=Path, metavar="VENV", help="where Rust routers are")
    parser.add_argument("--only-gateway", action="store_true", help="without other front ends")
    parser.add_argument("--check", type=Path, metavar="TABLE", help="hold the ratios to it")
    parser.add_argument("--record", type=Path, metavar="TABLE", help="write the ratios to it")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
