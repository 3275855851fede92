"""What every process of a profile holds: memory, descriptors, threads, read from /proc."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROLES = (
    (re.compile(r" -m enginix up |/enginix up "), "supervisor"),
    (re.compile(r" openai .*--worker( |$)"), "gateway worker"),
    (re.compile(r" openai "), "gateway"),
    (re.compile(r"guide_trial\.py"), "guide trial"),
    (re.compile(r"/repository/(\w+)/1/model\.py"), "stub of {}"),
    (re.compile(r"llama_server\.py.*--alias=(\S+)"), "llama-server of {}"),
    (re.compile(r"^\S*tritonserver "), "tritonserver"),
    (re.compile(r"enginix triton "), "launcher of Triton"),
)
# It ends, and is started again, whenever a guide is beyond the limits.
PASSING = frozenset(("guide trial", "other"))


@dataclass(frozen=True, slots=True)
class Sample:
    at: float
    pid: int
    role: str
    rss_mb: float
    pss_mb: float
    descriptors: int
    threads: int


def role_of(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        return "other"
    text = words.decode(errors="replace")
    for pattern, role in ROLES:
        if found := pattern.search(text):
            return role.format(*found.groups(""))
    return "other"


def sample(pids: Iterable[int], at: float) -> list[Sample]:
    """Of those that are still there."""
    found = []
    for pid in pids:
        try:
            found.append(_sample(pid, at))
        except (OSError, KeyError, ValueError):
            # It ended while it was looked at.
            continue
    return found


def _sample(pid: int, at: float) -> Sample:
    memory = _numbers(Path(f"/proc/{pid}/smaps_rollup"))
    status = _numbers(Path(f"/proc/{pid}/status"))
    return Sample(
        at,
        pid,
        # Read every time: what has just been forked has its parent's command line.
        role_of(pid),
        memory["Rss"] / 1024,
        memory["Pss"] / 1024,
        len(os.listdir(f"/proc/{pid}/fd")),
        status["Threads"],
    )


def _numbers(path: Path) -> dict[str, int]:
    rows = (line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    words = ((name, text.split()) for name, text in rows)
    return {name: int(text[0]) for name, text in words if text and text[0].isdigit()}
