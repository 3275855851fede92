"""What a streamed token costs the gateway at an engine's own pace, beside a relay that only copies.

    python benchmarks/token_path.py --engine DIR [--streams 32 256 1000] [--dialect messages]
        [--check] [--out DIR]

`--engine` gives the tokenizer and the template. Tokens come from an engine with a set pace
(paced/engine.py): in `burst` every stream gets its token at the same moment, as an engine's step
emits them; in `spread` each has its own moment. Full speed is gateway.py's, which counts whole
answers: megabytes of tokens wait in sockets then, paid for before they are counted here.
In turns, in one run: a relay in C, compiled on the spot (a Python one without a compiler), the
gateway, and, on the gateway's stream, front ends that pass it on: ours, and others where they are
installed.
Then requests with one token to answer, for what a prompt costs by its length. `--check` holds the
ratios to a table that `--record` wrote, by default token_path.json beside this file, and ends with
status 1 beyond 15 %; `--out` is where the numbers and their plots go.
"""

from __future__ import annotations

import argparse
import http.client
import json
import shutil
import subprocess
import sys
import tempfile
import time
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
from benchmarks.gateway import CHAT, WORDS, chat_body, request_of, roomy, running_gateway
from benchmarks.paced.client import CONTENT, Seen, Task
from benchmarks.paced.plots import line_plot
from benchmarks.process_usage import cpu_seconds

PACED = Path(__file__).parent / "paced"
PATTERNS = ("burst", "spread")
TOKENS_PER_SECOND = 50
FLOOR = "relay"
MOST_TOKENS = 900_000
BEYOND = 0.15
RECORDED = Path(__file__).with_suffix(".json")
PROMPT_REQUESTS = 10
ANSWER = {"input": WORDS, "max_output_tokens": MOST_TOKENS}
# Dialect -> its path, what it asks for beside or instead of a chat, what marks a token.
DIALECTS: dict[str, tuple[str, dict[str, Any], bytes]] = {
    "chat": (CHAT, {}, CONTENT),
    "completions": ("/v1/completions", {"prompt": WORDS}, b'"index":0,"text"'),
    "messages": ("/v1/messages", {}, b'"text_delta","text"'),
    "responses": ("/v1/responses", ANSWER, b"event: response.output_text.delta"),
}


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


def roads(
    arguments: argparse.Namespace, stack: ExitStack, grpc: int, bare: int
) -> dict[str, dict[str, Any]]:
    """Name -> the fields of its tasks."""
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    port, pid = stack.enter_context(relay(directory, bare))
    found = {FLOOR: {"port": port, "pid": pid, "request": "GET\n", "token": "~"}}
    engine = roomy(arguments.engine, directory)
    triton = f"127.0.0.1:{grpc}"
    gateway = stack.enter_context(running_gateway(engine, triton, "http2"))
    ends = {"gateway": (gateway.url, gateway.pid)}
    if arguments.against:
        other = stack.enter_context(running_gateway(engine, triton, "http2", arguments.against))
        ends["against"] = (other.url, other.pid)
    if not arguments.only_gateway:
        ends["passed on"] = stack.enter_context(passing_on(gateway.url))
        if program := find_litellm(arguments.litellm):
            ends["litellm"] = stack.enter_context(litellm(program, gateway.url))
        for name, program in find_routers(arguments.routers).items():
            ends[name] = stack.enter_context(router(name, program, gateway.url))
    path, more, token = DIALECTS[arguments.dialect]
    content = json.dumps(json.loads(chat_body(MOST_TOKENS)) | more).encode()
    for name, (url, process) in ends.items():
        fields = {"port": port_of(url), "pid": process, "token": token.decode()}
        found[name] = {**fields, "request": request_of(url, path, content).decode()}
    return found


Found = dict[tuple[str, int], dict[str, Seen]]


def measure(arguments: argparse.Namespace) -> tuple[Found, dict[int, float]]:
    """What was measured of each road, in turns, by pattern and streams: medians of the rounds.

    And milliseconds of the gateway's CPU time by the tokens of a prompt.
    """
    with ExitStack() as stack:
        engine, client = (
            Child(sys.executable, PACED / name) for name in ("engine.py", "client.py")
        )
        stack.callback(engine.close)
        stack.callback(client.close)
        grpc, bare = map(int, engine.line().split())
        found: Found = {}
        tasks = roads(arguments, stack, grpc, bare)
        for pattern in arguments.patterns:
            for streams in arguments.streams:
                engine.ask(f"{pattern} {TOKENS_PER_SECOND}")
                rows: dict[str, list[Seen]] = {name: [] for name in tasks}
                for turn in range(arguments.rounds):
                    # Back and forth: the one before leaves its warmth, or its cold.
                    for name, fields in list(tasks.items())[:: -1 if turn % 2 else 1]:
                        task = Task(streams=streams, seconds=arguments.seconds, **fields)
                        seen = json.loads(client.ask(json.dumps(asdict(task))))
                        rows[name].append(Seen(**seen))
                found[pattern, streams] = report(pattern, streams, rows)
        ours = tasks["gateway"]
        return found, {tokens: prompt_ms(tokens, **ours) for tokens in arguments.prompts}


def prompt_ms(tokens: int, port: int, pid: int, **_: object) -> float:
    """Of a request whose prompt has about so many tokens, and which no earlier one began with."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    spent = []
    for _request in range(PROMPT_REQUESTS):
        # Beside names, a word is one token or two.
        text = f"{time.monotonic_ns()} " + "Say hello in three languages. " * (tokens // 8)
        content = json.loads(chat_body(1)) | {"messages": [{"role": "user", "content": text}]}
        before = cpu_seconds(pid)
        connection.request("POST", CHAT, json.dumps(content))
        answer = connection.getresponse().read()
        spent.append(cpu_seconds(pid) - before)
        if b"[DONE]" not in answer:
            raise SystemExit(f"a wrong answer: {answer[:500]!r}")
    connection.close()
    print(f"a prompt of about {tokens} tokens: {median(spent) * 1e3:.2f} ms", flush=True)
    return median(spent) * 1e3


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


def ratios(found: Found) -> dict[str, dict[str, float]]:
    return {
        f"{pattern}, {streams} streams": {
            name: round(seen.cpu_us / rows[FLOOR].cpu_us, 2)
            for name, seen in rows.items()
            if name not in (FLOOR, "against")
        }
        for (pattern, streams), rows in found.items()
    }


def write(directory: Path, found: Found, prompts: dict[int, float]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    rows = [
        {"pattern": pattern, "streams": streams, "road": name, **asdict(seen)}
        for (pattern, streams), each in found.items()
        for name, seen in each.items()
    ]
    document = {"tokens": rows, "prompt_ms": prompts}
    (directory / "token-path.json").write_text(json.dumps(document, indent=2) + "\n")
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        line = lines.setdefault(f"{row['road']}, {row['pattern']}", [])
        line.append((row["streams"], row["cpu_us"]))
    drawn = line_plot(directory / "streams.svg", lines, "streams", "CPU per token, us")
    points = {"gateway": list(prompts.items())}
    if not drawn or not line_plot(directory / "prompts.svg", points, "tokens", "CPU, ms"):
        print("no plots: matplotlib is not installed; pip install 'enginix[bench]' brings it")


def main() -> int:
    arguments = parsed()
    print(
        f"{'pattern':7} {'streams':>7} {'road':13} {'us/token':>8} {'of relay':>8} "
        f"{'tokens/s':>9} {'gap p99, ms':>11} {'RSS MB':>7}"
    )
    found, prompts = measure(arguments)
    now = ratios(found)
    if arguments.out:
        write(arguments.out, found, prompts)
    if arguments.record:
        # What is not measured this time stays.
        known = json.loads(arguments.record.read_text()) if arguments.record.is_file() else {}
        arguments.record.write_text(json.dumps(known | now, indent=2) + "\n")
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
    parser.add_argument("--patterns", nargs="+", choices=PATTERNS, default=PATTERNS)
    parser.add_argument("--dialect", choices=DIALECTS, default="chat")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--litellm", type=Path, metavar="VENV", help="where litellm[proxy] is")
    parser.add_argument("--routers", type=Path, metavar="VENV", help="where Rust routers are")
    parser.add_argument("--against", type=Path, metavar="TREE", help="another checkout's gateway")
    parser.add_argument("--only-gateway", action="store_true", help="without other front ends")
    parser.add_argument("--prompts", type=int, nargs="*", default=[100, 1000, 10_000, 100_000])
    parser.add_argument("--out", type=Path, metavar="DIR", help="for the numbers and the plots")
    table: dict[str, Any] = {"type": Path, "nargs": "?", "const": RECORDED, "metavar": "TABLE"}
    parser.add_argument("--check", **table, help="hold the ratios to it")
    parser.add_argument("--record", **table, help="write the ratios to it")
    arguments = parser.parse_args()
    if arguments.dialect != "chat" and (arguments.check or arguments.record):
        parser.error(f"the table is that of chats, not of {arguments.dialect}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
