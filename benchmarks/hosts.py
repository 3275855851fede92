"""Several hosts on one machine: what clients see when one fails, and what more of them bring.

    python benchmarks/hosts.py [--hosts 3] [--tries 3] [--only TEXT] [--engine DIR]
    python benchmarks/hosts.py --throughput [--cores 0.3]

As root: the hosts are network namespaces. Each runs the real Triton with the demo engine and its
gateway. In front of them is the real Envoy, configured by `enginix envoy render`, or a gateway that
knows all Tritons. For each fault two long streams for each host run, and short questions beside
them; every answer is compared with that of one host alone. With --throughput: tokens per second of
one host and of all, each limited to a share of a core, and what processor time they took.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "python")]
# The programs that are started run this source too.
os.environ["PYTHONPATH"] = str(ROOT / "python")

# ruff: noqa: E402, the path comes first
from benchmarks.gateway import LoadProcess, cpu_seconds
from benchmarks.soaking.judgement import Ended
from tests.bed import faults
from tests.bed.faults import Fault, Front, Seen
from tests.bed.fronts import envoy_before, gateway_before
from tests.bed.hosts import why_none
from tests.bed.programs import Node, nodes

TOKENS = 2500
FAULTS = (
    faults.KILL_TRITON,
    faults.FREEZE_TRITON,
    faults.STOP_GATEWAY,
    faults.KILL_GATEWAY,
    faults.FREEZE_GATEWAY,
    faults.CUT_OFF,
    faults.STAY_CUT_OFF,
)
ROLL = "all gateways restarted, one by one"
Fronts = Callable[[Sequence[Node]], AbstractAsyncContextManager[Front]]


async def tried(fronts: Fronts, made: list[Node], fault: Fault | None, at_once: int) -> Seen:
    async with fronts(made) as front:
        if fault is None:
            return await faults.restart_gateways(front, made, at_once=at_once, tokens=TOKENS)
        return await faults.suffer(front, made, fault, at_once=at_once, tokens=TOKENS)


def row(name: str, seen: Sequence[Seen], alone: str) -> str:
    ends = sum((each.ends() for each in seen), Counter[str]())
    told = max(each.told_after() for each in seen)
    failed = [each for one in seen for each in one.failed]
    of_all = sum(len(each.requests) for each in seen)
    wrong = sum(not alone.startswith(s.text) for each in seen for s in each.streams)
    wrong += sum(s.end == "whole" and s.text != alone for each in seen for s in each.streams)
    cells = (
        name,
        str(len(seen)),
        f"{ends['whole']} whole"
        + "".join(f", {ends[end]} {words}" for end, words in ENDS.items() if ends[end])
        + f"; {sum(each.on_hit for each in seen)} began there",
        f"{told:.1f} s" if ends.total() > ends["whole"] else "",
        f"{len(failed)} of {of_all}{kinds(failed)}",
        str(sum(len(each.refused) for each in seen)),
        str(wrong),
        spread([each.out for each in seen]),
        spread([each.back for each in seen]),
    )
    return f"| {' | '.join(cells)} |"


ENDS = {"error": "told in an event", "broken": "broken off"}


def kinds(failed: Sequence[Ended]) -> str:
    """What came instead of the answers, and how many of each."""
    counted = Counter(kind_of(each.wrong or "") for each in failed)
    return "".join(f", {count} {kind}" for kind, count in counted.most_common())


def kind_of(wrong: str) -> str:
    if '"error"' in wrong:
        return ENDS["error"]
    if wrong.startswith("status "):
        return wrong[7:10]
    cut = ("a stream without", "Remote", "Read")
    return ENDS["broken"] if wrong.startswith(cut) else f"WRONG ({wrong[:80]})"


def spread(seconds: Sequence[float]) -> str:
    if not any(seconds):
        return ""
    return f"{min(seconds):.1f} - {max(seconds):.1f} s"


def show_faults(arguments: argparse.Namespace, engine: Path, made: list[Node]) -> None:
    alone = faults.long_answer(made[0], TOKENS)
    both: dict[str, tuple[Fronts, dict[str, Fault | None]]] = {
        "Envoy before gateways": (
            envoy_before,
            {each.name: each for each in FAULTS} | {ROLL: None},
        ),
        "a gateway before Tritons": (
            partial(gateway_before, engine),
            {each.name: each for each in FAULTS if "gateway" not in each.name},
        ),
    }
    for title, (fronts, known) in both.items():
        chosen = {
            name: fault for name, fault in known.items() if arguments.only in f"{title}: {name}"
        }
        if not chosen:
            continue
        print(f"{title}: {len(made)} hosts, {2 * len(made)} long streams, ", end="")
        print(f"{arguments.at_once} short requests at a time")
        print("| fault | tries | long streams | last of them knew | short requests that failed "
              "| refused with 503 | wrong answers | out after | back after |")  # fmt: skip
        print("|---|---|---|---|---|---|---|---|---|")
        for name, fault in chosen.items():
            seen = [
                asyncio.run(tried(fronts, made, fault, arguments.at_once))
                for _ in range(arguments.tries)
            ]
            print(row(name, seen, alone), flush=True)


@contextmanager
def slow(node: Node, cores: float) -> Iterator[None]:
    """The host's programs share so much of a core: a host that is slower than this machine."""
    root = Path("/sys/fs/cgroup")
    unified = (root / "cgroup.controllers").exists()
    group = (root if unified else root / "cpu") / node.host.name
    period = 20_000
    group.mkdir()
    try:
        if unified:
            (group / "cpu.max").write_text(f"{int(cores * period)} {period}")
        else:
            (group / "cpu.cfs_period_us").write_text(str(period))
            (group / "cpu.cfs_quota_us").write_text(str(int(cores * period)))
        for pid in node.pids():
            (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        for pid in node.pids():
            (group.parent / "cgroup.procs").write_text(str(pid))
        group.rmdir()


async def show_throughput(arguments: argparse.Namespace, made: list[Node]) -> None:
    print(f"each host has {arguments.cores:g} of a core, or all that is there")
    print("| hosts | streams | cores of each | tokens/s | of one host | first token ms "
          "| cores: hosts | Envoy | clients |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    for cores in (arguments.cores, None):
        base = 0.0
        for count in (1, len(made)):
            some = made[:count]
            with ExitStack() as stack:
                if cores is not None:
                    for node in some:
                        stack.enter_context(slow(node, cores))
                async with envoy_before(some) as front:
                    measured = await throughput(front, some, arguments)
            base = base or measured[0]
            tokens, first, *used = measured
            cells = [count, arguments.streams * count, cores or "no limit", round(tokens)]
            cells += [f"{tokens / base:.2f}", round(first), *(f"{each:.2f}" for each in used)]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


async def throughput(
    front: Front, made: Sequence[Node], arguments: argparse.Namespace
) -> tuple[float, ...]:
    """Tokens per second, milliseconds to the first, and the cores used: hosts, Envoy, clients."""
    load = LoadProcess()
    streams = arguments.streams * len(made)
    groups = [[pid for node in made for pid in node.pids()], [front.pid], [load.pid]]
    await asyncio.to_thread(load.run, front.url, streams, 200, 3)
    before = [sum(map(cpu_seconds, group)) for group in groups]
    seen = await asyncio.to_thread(load.run, front.url, streams, 200, arguments.seconds)
    used = [
        (sum(map(cpu_seconds, group)) - was) / seen["seconds"]
        for group, was in zip(groups, before, strict=True)
    ]
    load.close()
    return seen["tokens"] / seen["seconds"], seen["first"] * 1e3, *used


def main(arguments: argparse.Namespace) -> None:
    if reason := why_none():
        raise SystemExit(reason)
    with tempfile.TemporaryDirectory() as directory:
        engine = arguments.engine or built(Path(directory) / "demo")
        with nodes(engine, arguments.hosts) as made:
            if arguments.throughput:
                asyncio.run(show_throughput(arguments, made))
            else:
                show_faults(arguments, engine, made)


def built(out: Path) -> Path:
    command = [sys.executable, "-m", "enginix", "engine", "build", "demo", f"--out={out}"]
    subprocess.run(command, check=True, capture_output=True)
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hosts", type=int, default=3, help="at most nine")
    parser.add_argument("--engine", type=Path, metavar="DIR", help="default: the demo's, built")
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=6, help="short requests")
    parser.add_argument("--only", default="", metavar="TEXT", help="e.g. 'Envoy before', 'cable'")
    parser.add_argument("--throughput", action="store_true")
    parser.add_argument("--cores", type=float, default=0.3, help="of each host")
    parser.add_argument("--streams", type=int, default=8, help="for each host")
    parser.add_argument("--seconds", type=float, default=15)
    main(parser.parse_args())
