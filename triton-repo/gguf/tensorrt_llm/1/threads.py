"""How many threads llama.cpp should use on this machine."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path


def default_threads(system: Path = Path("/sys")) -> int:
    """The physical cores this process may use: a second thread on a core only gets in the way."""
    allowed = os.sched_getaffinity(0)
    cores = {_core(system, cpu) for cpu in allowed}
    return max(1, min(len(cores), _quota(system)))


def _core(system: Path, cpu: int) -> tuple[str, ...]:
    topology = system / f"devices/system/cpu/cpu{cpu}/topology"
    try:
        return tuple((topology / name).read_text() for name in ("physical_package_id", "core_id"))
    except OSError:
        return (str(cpu),)


def _quota(system: Path) -> int:
    """The cores a container may keep busy (cgroup v2); the threads above would only be stopped."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = (system / "fs/cgroup/cpu.max").read_text().split()
        return math.ceil(int(quota) / int(period))
    return os.cpu_count() or 1
