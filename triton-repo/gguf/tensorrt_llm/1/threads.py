"""Decides how many threads llama.cpp uses on this machine."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

# A step of a model this small is over before a second thread has woken: it costs three quarters of
# the speed where anything else runs.
SMALL_BYTES = 32 << 20


def is_small(model: Path) -> bool:
    """False for a missing file; whoever loads it reports that."""
    return model.is_file() and model.stat().st_size < SMALL_BYTES


def threads_for(model: Path) -> int:
    """One for a small model."""
    return 1 if is_small(model) else default_threads()


def default_threads(system: Path = Path("/sys")) -> int:
    """The physical cores this process may use: a second thread per core only slows it down."""
    return max(1, min(len(cores(system)), _quota(system)))


def cores(system: Path = Path("/sys")) -> list[frozenset[int]]:
    """The processors of each physical core, those only that the calling thread may use."""
    found: dict[tuple[str, ...], set[int]] = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        found.setdefault(_core(system, cpu), set()).add(cpu)
    return [frozenset(cpus) for cpus in found.values()]


def _core(system: Path, cpu: int) -> tuple[str, ...]:
    topology = system / f"devices/system/cpu/cpu{cpu}/topology"
    try:
        return tuple((topology / name).read_text() for name in ("physical_package_id", "core_id"))
    except OSError:
        return (str(cpu),)


def _quota(system: Path) -> int:
    """The cores a container may keep busy (cgroup v2); more threads would only be throttled."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = (system / "fs/cgroup/cpu.max").read_text().split()
        return math.ceil(int(quota) / int(period))
    return os.cpu_count() or 1
