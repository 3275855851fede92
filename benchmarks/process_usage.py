"""What a process uses of the machine, by /proc."""

from __future__ import annotations

from pathlib import Path


def cpu_seconds(pid: int) -> float:
    """Of all its threads, in nanoseconds' resolution."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(each.read_text().split()[0]) for each in tasks) / 1e9


def resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024
