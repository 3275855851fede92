"""A soak: mixed load on `enginix up demo-multi`, watched from outside.

    python benchmarks/soak.py MINUTES [--at-once 8] [--out DIR] [--url URL --pid PID ...]

Streams, whole answers, clients that leave in every window, tools, forced calls, schemas, guides
good and hostile, mistakes, both kinds of engine, a third model that is loaded and unloaded. Every
answer is held to the recorded ones. Ends with status 1 and a sentence for each: memory, descriptors
or threads that grow and go on growing, a wrong answer, a process that ended, health that is red
while answers come or green while none do.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "python")]

# ruff: noqa: E402, the path comes first
from benchmarks.soaking.judgement import (
    deaths,
    green_while_none_comes,
    growth,
    red_while_answers_come,
    wrong_answers,
)
from benchmarks.soaking.load import GUEST_ROLE, Record, soak
from benchmarks.soaking.profile import Profile, running
from benchmarks.soaking.report import draw, tables, write_json


def main() -> int:
    arguments = parsed()
    with ExitStack() as stack:
        profile = profile_of(arguments, stack)
        seconds = arguments.minutes * 60
        record = asyncio.run(soak(profile, seconds, arguments.at_once, arguments.seed))
    findings = findings_of(record)
    print(tables(record))
    if arguments.out is not None:
        write(record, findings, arguments.out)
    for sentence in findings:
        print(f"found: {sentence}")
    if findings:
        print(profile.crashes(), end="")
    print(f"{len(record.requests)} requests in {record.ended - record.began:.0f} s, ", end="")
    print(f"{len(findings)} findings" if findings else "nothing found")
    return 1 if findings else 0


def profile_of(arguments: argparse.Namespace, stack: ExitStack) -> Profile:
    if arguments.url:
        return Profile(arguments.url, tuple(arguments.pid))
    home = Path(arguments.home or stack.enter_context(tempfile.TemporaryDirectory()))
    # A full cache cannot grow, and a small one is full soon.
    options = [f"--set=demo-llama.options.cache_mb={arguments.cache_mb}", *arguments.up_option]
    return stack.enter_context(running(home, options))


def findings_of(record: Record) -> list[str]:
    return [
        *wrong_answers(record.requests),
        *deaths(record.samples, record.ended, record.restarts, [GUEST_ROLE]),
        *growth(record.samples, record.began, record.ended),
        *red_while_answers_come(record.health, record.requests),
        *green_while_none_comes(record.health, record.requests),
    ]


def write(record: Record, findings: list[str], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_json(record, findings, out / "soak.json")
    if not draw(record, out / "soak.png"):
        print("no plots: matplotlib is not installed; pip install 'enginix[bench]' brings it")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("minutes", type=float)
    parser.add_argument("--at-once", type=int, default=8, help="requests (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of what is asked when (%(default)s)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="for soak.json and soak.png")
    parser.add_argument("--home", type=Path, metavar="DIR", help="where engines are and stay")
    parser.add_argument("--cache-mb", type=int, default=32, help="of llama-server (%(default)s)")
    parser.add_argument("--up-option", action="append", default=[], help="one more for enginix up")
    parser.add_argument("--url", help="a gateway that runs already, with both demo models")
    parser.add_argument("--pid", type=int, action="append", default=[], help="whom to watch")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
