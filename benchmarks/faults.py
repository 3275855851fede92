"""Injects faults into `enginix up demo-multi` under load: records what clients and health see.

    python benchmarks/faults.py [--at-once 6] [--home DIR] [--only TEXT]

For each fault: three seconds of load, the fault, and load until both models answer correctly again
for three seconds. A row lists how many requests failed and how, the slowest of them, how long the
affected model was silent, when its health was red, and any wrong answers. At the end, after
everything has stopped, it looks for leftover processes and files.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "python")]

# ruff: noqa: E402, the path comes first
from benchmarks.soaking.client import Asker
from benchmarks.soaking.judgement import Ended, Health
from benchmarks.soaking.load import Record, health, note
from benchmarks.soaking.processes import role_of
from benchmarks.soaking.profile import TEMPORARY, Profile, running
from benchmarks.soaking.questions import MODELS, Question, questions

BEFORE, AFTER, PATIENCE = 3.0, 3.0, 90.0
BOTH = tuple(MODELS)


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    role: str
    """Whose process is hit: the first of that role."""
    signal: int
    models: tuple[str, ...]
    workers: int = 1


FAULTS = (
    Fault("kill -9 tritonserver", "tritonserver", signal.SIGKILL, ("demo",)),
    Fault("kill -9 the model's stub", "stub of tensorrt_llm", signal.SIGKILL, ("demo",)),
    Fault("kill -9 llama-server", "llama-server of demo-llama", signal.SIGKILL, ("demo-llama",)),
    Fault("kill -9 the gateway", "gateway", signal.SIGKILL, BOTH),
    Fault("SIGSTOP tritonserver", "tritonserver", signal.SIGSTOP, ("demo",)),
    Fault("SIGSTOP the model's stub", "stub of tensorrt_llm", signal.SIGSTOP, ("demo",)),
    Fault("SIGSTOP llama-server", "llama-server of demo-llama", signal.SIGSTOP, ("demo-llama",)),
    Fault("SIGSTOP the gateway", "gateway", signal.SIGSTOP, BOTH),
    # Only a rare probe detects it: last, so that its repair overlaps no other fault.
    Fault("kill -9 the preprocessing stub", "stub of preprocessing", signal.SIGKILL, ("demo",)),
    Fault("kill -9 one of two workers", "gateway worker", signal.SIGKILL, BOTH, 2),
    Fault("SIGSTOP one of two workers", "gateway worker", signal.SIGSTOP, BOTH, 2),
)


async def suffer(profile: Profile, fault: Fault, at_once: int) -> str:
    record = Record()
    stop = asyncio.Event()
    async with (
        httpx.AsyncClient(
            base_url=profile.url,
            timeout=60,
            trust_env=False,
            limits=httpx.Limits(max_connections=99),
        ) as client,
        asyncio.TaskGroup() as group,
    ):
        for number in range(at_once):
            # Half of them for each model, so that both are observed.
            own = questions(BOTH[number % 2])
            group.create_task(ask_on(client, own, number, record, stop))
        group.create_task(watch(profile.url, record, stop))
        await asyncio.sleep(BEFORE)
        hit = time.monotonic()
        pid = next(each for each in profile.processes() if role_of(each) == fault.role)
        os.kill(pid, fault.signal)
        await until_well(record, hit)
        stop.set()
    return row(fault, record, hit)


async def ask_on(
    client: httpx.AsyncClient,
    own: list[Question],
    seed: int,
    record: Record,
    stop: asyncio.Event,
) -> None:
    asker = Asker(client, random.Random(seed))
    while not stop.is_set():
        kind: Callable[..., object] = asker.chance.choice((Asker.whole, Asker.stream))
        await note(record, "ask", kind, asker, asker.chance.choice(own))  # type: ignore[arg-type]
        # A refusal comes at once; clients pause before they retry.
        await asyncio.sleep(0.02)


async def watch(url: str, record: Record, stop: asyncio.Event) -> None:
    while not stop.is_set():
        async with httpx.AsyncClient(base_url=url, timeout=2, trust_env=False) as client:
            record.health.append(await health(client))
        await asyncio.sleep(0.1)


async def until_well(record: Record, hit: float) -> None:
    """Both models have answered correctly, without errors, for a while."""
    while (now := time.monotonic()) < hit + PATIENCE:
        await asyncio.sleep(0.2)
        late = [each for each in record.requests if each.at > now - AFTER]
        right = {each.model for each in late if each.wrong is None and each.began > now - AFTER}
        seen = record.health[-1] if record.health else Health(0, None)
        well = seen.well is not None and set(BOTH) <= seen.well
        if (
            now > hit + 2 * AFTER
            and well
            and right == set(BOTH)
            and not any(each.wrong for each in late)
        ):
            return


def row(fault: Fault, record: Record, hit: float) -> str:
    after = [each for each in record.requests if each.at >= hit]
    failed = [each for each in after if each.wrong is not None]
    kinds = Counter(kind_of(each.wrong or "") for each in failed)
    words = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4)) or "none"
    told = max((each.at - max(each.began, hit) for each in failed), default=0.0)
    hit_ones = [silence_of(record.requests, model, hit) for model in fault.models]
    others = set(BOTH) - set(fault.models)
    spared = [f"{silence_of(record.requests, model, hit):.1f} s" for model in others]
    cells = (
        fault.name,
        f"{len(failed)} of {len(after)}: {words}",
        f"{told:.1f} s",
        f"{max(hit_ones):.1f} s",
        "".join(spared),
        red_of(record.health, fault, hit),
    )
    return f"| {' | '.join(cells)} |"


def kind_of(wrong: str) -> str:
    if wrong.startswith("status "):
        return wrong[7:10]
    if wrong.startswith(("a stream without", "Remote", "Read", "Connect", "Write", "KeyError")):
        return "broken off" if not wrong.startswith("Connect") else "no connection"
    return f"WRONG ({wrong[:80]})"


def silence_of(requests: list[Ended], model: str, hit: float) -> float:
    """The longest time without a right answer of the model, from the fault on."""
    ends = sorted(
        each.at for each in requests if each.model == model and each.wrong is None and each.at > hit
    )
    times = [hit, *ends]
    return max((b - a for a, b in pairwise(times)), default=PATIENCE)


def red_of(seen: list[Health], fault: Fault, hit: float) -> str:
    red = [
        each.at - hit
        for each in seen
        if each.at > hit and (each.well is None or not set(fault.models) <= each.well)
    ]
    return f"{red[0]:.1f} to {red[-1]:.1f} s" if red else "never"


def leftovers(home: Path, pids: list[int], shared: set[str]) -> str:
    """Processes that still run, and files; those in /dev/shm may be another Triton's."""
    alive = [f"{role_of(pid)} (pid {pid})" for pid in pids if role_of(pid) != "other"]
    files = [path.name for path in (home / TEMPORARY).iterdir()]
    files += sorted(shared_memory() - shared)
    return ", ".join([*alive, *files]) or "nothing"


def shared_memory() -> set[str]:
    return {path.name for path in Path("/dev/shm").iterdir() if "enginix" in path.name}


def main(arguments: argparse.Namespace) -> None:
    print("| fault | failed requests | told after | nothing came for | the other model | red |")
    print("|---|---|---|---|---|---|")
    chosen = [fault for fault in FAULTS if arguments.only in fault.name]
    with tempfile.TemporaryDirectory() as directory:
        for workers in sorted({fault.workers for fault in chosen}):
            shared = shared_memory()
            home = arguments.home or Path(directory)
            with running(home, [f"--workers={workers}"]) as profile:
                pids = profile.processes()
                for fault in (each for each in chosen if each.workers == workers):
                    print(asyncio.run(suffer(profile, fault, arguments.at_once)), flush=True)
                pids += profile.processes()
            print(f"left behind: {leftovers(home, pids, shared)}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--at-once", type=int, default=6)
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="only faults whose name contains it"
    )
    parser.add_argument("--home", type=Path, metavar="DIR", help="where engines are and stay")
    main(parser.parse_args())
