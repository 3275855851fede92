"""Checks ports, disk, shared memory and limits."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterable
from pathlib import Path

from enginix.doctor.finding import Finding, green, red, yellow
from enginix.errors import ProcessError
from enginix.ports import port_holder, require_port_free
from enginix.prerequisites import (
    LIBRARIES,
    Distribution,
    check_libraries,
    check_shared_memory,
    libpython,
    libpython_directories,
    sentence,
)

GIB = 2**30
# For a 32B NVFP4 checkpoint, its rank checkpoints and its engines together.
BUILD_BYTES = 80 * GIB
# NCCL and Triton's Python backend put their buffers there; containers often have only 64 MB.
SHM_BYTES = 1 * GIB


def look_at_ports(ports: Iterable[int]) -> list[Finding]:
    findings = []
    for port in ports:
        try:
            require_port_free("127.0.0.1", port, "")
        except ProcessError:
            holder = port_holder(port) or "a process of another user"
            findings.append(
                yellow("port", f"{port} is in use by {holder}", "stop it, or choose another port")
            )
        else:
            findings.append(green("port", f"{port} is free"))
    return findings


def look_at_disk(home: Path, others: Iterable[Path] = ()) -> list[Finding]:
    """`home` must be writable; enough space matters in all of them."""
    findings = []
    for place in (home, *filter(Path.exists, others)):
        existing = next(path for path in (place, *place.parents) if path.exists())
        if place == home and not (existing.is_dir() and os.access(existing, os.W_OK)):
            text = f"{place}, where enginix keeps its files, cannot be written"
            findings.append(red("disk", text, f"make {existing} writable, or set ENGINIX_HOME"))
            continue
        free = shutil.disk_usage(existing).free
        text = f"{free / GIB:.0f} GiB free in {place}"
        if free < BUILD_BYTES:
            findings.append(
                yellow("disk", text, f"a 32B engine build needs {BUILD_BYTES // GIB} GiB")
            )
        else:
            findings.append(green("disk", text))
    return findings


def look_at_shared_memory(place: Path = Path("/dev/shm")) -> list[Finding]:
    if missing := check_shared_memory(place):
        return [red("shm", f"no {missing[0].what}, which Triton's models need", missing[0].remedy)]
    total = shutil.disk_usage(place).total
    text = f"{place} has {total / GIB:.1f} GiB"
    if total < SHM_BYTES:
        return [yellow("shm", text, "give it 1 GiB or more (containers: --shm-size=1g)")]
    return [green("shm", text)]


def look_at_libraries(python: str, distribution: Distribution) -> list[Finding]:
    """Check the libraries that a runtime made with this Python loads."""
    names = (*LIBRARIES, libpython(python))
    if missing := check_libraries(names, libpython_directories()):
        fix = sentence(missing, distribution, python)
        return [yellow("libraries", "Triton cannot serve engines of kind gguf here", fix)]
    return [green("libraries", ", ".join(names))]


def look_at_memlock() -> list[Finding]:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft == resource.RLIM_INFINITY:
        return [green("memlock", "unlimited")]
    return [
        yellow(
            "memlock",
            f"limited to {soft // 1024} KiB",
            "several GPUs may need more: ulimit -l unlimited (containers: --ulimit memlock=-1)",
        )
    ]
