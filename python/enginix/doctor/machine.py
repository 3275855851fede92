"""Ports, disk, shared memory and limits: what a server needs of the machine around it."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterable
from pathlib import Path

from enginix.doctor.finding import Finding, green, red, yellow
from enginix.errors import ProcessError
from enginix.prerequisites import (
    LIBRARIES,
    Distribution,
    check_libraries,
    check_shared_memory,
    libpython,
    libpython_directories,
    sentence,
)
from enginix.process import port_holder, require_port_free

GIB = 2**30
# A 32B NVFP4 checkpoint, its rank checkpoints and its engines together.
ROOM_FOR_A_BUILD = 80 * GIB
# NCCL and Triton's Python backend both put their buffers there; containers often get 64 MB.
ROOM_IN_SHM = 1 * GIB


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


def look_at_disk(places: Iterable[Path]) -> list[Finding]:
    findings = []
    for place in places:
        existing = next(path for path in (place, *place.parents) if path.exists())
        free = shutil.disk_usage(existing).free
        words = f"{free / GIB:.0f} GiB free in {place}"
        if free < ROOM_FOR_A_BUILD:
            findings.append(
                yellow("disk", words, f"a 32B engine build wants {ROOM_FOR_A_BUILD // GIB} GiB")
            )
        else:
            findings.append(green("disk", words))
    return findings


def look_at_shared_memory(place: Path = Path("/dev/shm")) -> list[Finding]:
    if missing := check_shared_memory(place):
        return [red("shm", f"no {missing[0].what}, which Triton's models need", missing[0].remedy)]
    total = shutil.disk_usage(place).total
    words = f"{place} holds {total / GIB:.1f} GiB"
    if total < ROOM_IN_SHM:
        return [yellow("shm", words, "give it 1 GiB or more (containers: --shm-size=1g)")]
    return [green("shm", words)]


def look_at_libraries(python: str, distribution: Distribution) -> list[Finding]:
    """Those that the runtime made with this Python loads."""
    names = (*LIBRARIES, libpython(python))
    if missing := check_libraries(names, libpython_directories()):
        fix = sentence(missing, distribution, python)
        return [yellow("libraries", "engines of kind gguf cannot be served by Triton here", fix)]
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
