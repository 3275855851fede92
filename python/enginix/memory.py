"""Reads this machine's available memory and that of processes, in bytes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
PAGE = os.sysconf("SC_PAGE_SIZE")


def total_memory() -> int:
    return _meminfo("MemTotal") or _physical()


def available_memory() -> int:
    """The memory available without swapping; all memory if the kernel does not report it."""
    return _meminfo("MemAvailable") or _physical()


def resident_memory(pids: Iterable[int]) -> int:
    """The resident memory of these processes; shared memory counts for each."""
    total = 0
    for pid in pids:
        with suppress(OSError, ValueError, IndexError):
            total += int((PROC / str(pid) / "statm").read_text().split()[1]) * PAGE
    return total


def _meminfo(key: str) -> int | None:
    """A value of /proc/meminfo, in bytes."""
    lines = (PROC / "meminfo").read_text(encoding="ascii").splitlines()
    line = next((line for line in lines if line.startswith(f"{key}:")), None)
    return int(line.split()[1]) * 1024 if line else None


def _physical() -> int:
    return os.sysconf("SC_PHYS_PAGES") * PAGE
