"""What a machine needs before the demo's runtime can be made, and how to install it.

tools/prepare.sh runs these checks before anything is installed, with whatever Python the machine
has: only the standard library, and nothing newer than Python 3.8.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import re
import shutil
import socket
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Machine -> the Pythons for which the CPU runtime's Triton has a usable stub.
PYTHONS: Mapping[str, tuple[str, ...]] = {
    "x86_64": ("3.11", "3.12", "3.13"),
    "aarch64": ("3.11", "3.12"),
}
# The oldest that nvidia-pytriton's wheel supports.
OLDEST_GLIBC = (2, 35)
SHARED_MEMORY = Path("/dev/shm")
# Three models need 1 MiB each to start; Docker's default is 64 MiB.
SHM_BYTES = 16 << 20
# For the environment, the runtime, and the wheels while pip unpacks them.
DISK_BYTES = 1 << 30

LIBRARIES = ("libgomp.so.1", "libstdc++.so.6")

# Package manager -> its install command, and its package for each part; {v} is Python's version.
MANAGERS: Mapping[str, Mapping[str, str]] = {
    "apt": {
        "install": "apt install",
        "python": "python{v}",
        "venv": "python{v}-venv",
        "libpython": "libpython{v}",
        "libgomp.so.1": "libgomp1",
        "libstdc++.so.6": "libstdc++6",
    },
    "dnf": {
        "install": "dnf install",
        "python": "python{v}",
        "venv": "python{v}",
        "libpython": "python{v}-libs",
        "libgomp.so.1": "libgomp",
        "libstdc++.so.6": "libstdc++",
    },
    "pacman": {
        "install": "pacman -S",
        "venv": "python",
        "libpython": "python",
        "libgomp.so.1": "gcc-libs",
        "libstdc++.so.6": "gcc-libs",
    },
}
FAMILIES = {"debian": "apt", "ubuntu": "apt", "fedora": "dnf", "rhel": "dnf", "arch": "pacman"}

# Distribution -> the supported Python among its packages; it may differ from its python3.
PACKAGED = {
    "debian 12": "3.11",
    "debian 13": "3.13",
    "ubuntu 22.04": "3.11",
    "ubuntu 24.04": "3.12",
    "fedora": "3.13",
}


# The demo's ports, and the options of `enginix up demo` that choose others.
DEMO_PORTS = {
    8000: "--http-port",
    8001: "--grpc-port",
    8002: "--metrics-port",
    9000: "--port",
}


@dataclass(frozen=True)
class Distribution:
    """`manager` is a key of MANAGERS, empty if the distribution is unknown."""

    name: str = "this system"
    manager: str = ""
    python: str = ""
    """The supported Python among its packages; empty if there is none or it is unknown."""


@dataclass(frozen=True)
class Missing:
    """`part` is a package's key in MANAGERS; `remedy` says what to do if no package helps."""

    what: str
    part: str = ""
    remedy: str = ""


def distribution_of(os_release: str) -> Distribution:
    """Parse the text of /etc/os-release."""
    values: dict[str, str] = {}
    for key, value in re.findall(r'^(\w+)="?([^"\n]*)"?$', os_release, re.MULTILINE):
        values[key] = value
    names = [values.get("ID", ""), *values.get("ID_LIKE", "").split()]
    manager = next((FAMILIES[name] for name in names if name in FAMILIES), "")
    release = "{} {}".format(names[0], values.get("VERSION_ID", ""))
    python = PACKAGED.get(release, PACKAGED.get(names[0], ""))
    return Distribution(values.get("PRETTY_NAME", "this system"), manager, python)


def this_distribution() -> Distribution:
    for path in (Path("/etc/os-release"), Path("/usr/lib/os-release")):
        if path.exists():
            return distribution_of(path.read_text(encoding="utf-8"))
    return Distribution()


def supported_pythons() -> tuple[str, ...]:
    return PYTHONS.get(platform.machine(), PYTHONS["x86_64"])


def python_version() -> str:
    """This Python's version, such as 3.11."""
    return "{}.{}".format(*sys.version_info[:2])


def check_platform(libc: tuple[str, str]) -> list[Missing]:
    """`libc` is the result of platform.libc_ver()."""
    if sys.platform != "linux":
        return [Missing("Linux", remedy=f"run it on Linux, this is {sys.platform}")]
    if platform.machine() not in PYTHONS:
        wanted = " or ".join(sorted(PYTHONS))
        found = platform.machine()
        return [
            Missing(f"a processor of kind {wanted}", remedy=f"use another machine than {found}")
        ]
    name, version = libc
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if name != "glibc" or numbers < OLDEST_GLIBC:
        wanted = "glibc {}.{} or newer".format(*OLDEST_GLIBC)
        found = f"{name} {version}".strip() or "another C library"
        remedy = f"it has {found}; use a newer system (Debian 12, Ubuntu 22.04), or a container"
        return [Missing(wanted, remedy=remedy)]
    return []


def check_venv() -> list[Missing]:
    """Whether this Python can create a virtual environment with pip."""
    # Debian packages both separately; venv without ensurepip creates an environment without pip.
    if all(importlib.util.find_spec(name) for name in ("ensurepip", "venv")):
        return []
    return [Missing("Python's module venv", "venv")]


def libpython(version: str) -> str:
    return f"libpython{version}.so.1.0"


def part_of(library: str) -> str:
    return "libpython" if library.startswith("libpython") else library


def check_libraries(names: Iterable[str], directories: Iterable[str] = ()) -> list[Missing]:
    """The shared libraries found neither by the loader nor in `directories`."""
    return [
        Missing(name, part_of(name))
        for name in names
        if not any((Path(directory) / name).exists() for directory in directories)
        and not _loads(name)
    ]


def check_shared_memory(place: Path = SHARED_MEMORY) -> list[Missing]:
    if not place.is_dir():
        return [Missing(f"{place}", remedy=f"mount it: mount -t tmpfs tmpfs {place}")]
    try:
        with tempfile.TemporaryFile(dir=str(place)):
            pass
    except OSError as error:
        remedy = f"{place} cannot be written ({error.strerror}): chmod 1777 {place}, as root"
        return [Missing("shared memory", remedy=remedy)]
    free = shutil.disk_usage(str(place)).free
    if free < SHM_BYTES:
        remedy = (
            f"{place} has {free >> 20} MiB free of the {SHM_BYTES >> 20} that Triton's models "
            "take: remove what fills it, or give it more (containers: --shm-size=1g)"
        )
        return [Missing("space in shared memory", remedy=remedy)]
    return []


def check_disk(places: Iterable[Path]) -> list[Missing]:
    missing = []
    for place in places:
        existing = next(path for path in (place, *place.absolute().parents) if path.exists())
        free = shutil.disk_usage(str(existing)).free
        if free < DISK_BYTES:
            remedy = f"free {DISK_BYTES >> 20} MiB for {place}, {free >> 20} are free"
            missing.append(Missing("disk", remedy=remedy))
        elif not os.access(str(existing), os.W_OK):
            missing.append(
                Missing("a directory to write to", remedy=f"make {existing} writable by this user")
            )
    return missing


def check_ports(ports: Iterable[int], flags: Mapping[int, str] = DEMO_PORTS) -> list[Missing]:
    """`flags`: port -> the option of `enginix up demo` that chooses another."""
    taken = [str(port) for port in ports if not _is_free(port)]
    if not taken:
        return []
    what = f"port{'s' * (len(taken) > 1)} {_listed(taken)}"
    others = " ".join(f"{flags.get(int(port), '--port')}={int(port) + 100}" for port in taken)
    remedy = f"end what listens on {what}, or choose others: make demo ARGS='{others}'"
    return [Missing(f"free {what}", remedy=remedy)]


def check_python(version: str, distribution: Distribution) -> list[Missing]:
    """Whether the runtime can be made with this Python."""
    wanted = supported_pythons()
    if version in wanted:
        return []
    what = f"Python {_listed(wanted, 'or')} (python3 is {version})"
    if distribution.python in wanted:
        return [Missing(what, part) for part in ("python", "venv", "libpython")]
    # Not installed automatically: it is a third-party program.
    remedy = (
        "install one, such as with `uv python install 3.12` (from `pip install uv`), and name it: "
        'make demo PYTHON="$(uv python find 3.12)"'
    )
    return [Missing(what, remedy=remedy)]


def sentence(missing: Sequence[Missing], distribution: Distribution, version: str) -> str:
    """One sentence: everything that is missing, and the command and steps that provide it."""
    names = MANAGERS.get(distribution.manager, {})
    version = version if version in supported_pythons() else distribution.python
    packages = [names[each.part].format(v=version) for each in missing if each.part in names]
    # Includes parts whose package name is unknown here.
    unnamed = [each.what for each in missing if each.part and each.part not in names]
    steps = [each.remedy for each in missing if each.remedy]
    if unnamed and distribution.name.startswith("NixOS"):
        steps.insert(0, "use the flake instead: nix run .#demo")
    elif unnamed:
        steps.insert(0, f"install {_listed(unnamed)}")
    if packages:
        steps.insert(0, f"{names['install']} {' '.join(dict.fromkeys(packages))} (as root)")
    what = _listed([each.what for each in missing])
    return f"{distribution.name} lacks {what}; {'; '.join(steps)}"


def libpython_directories() -> list[str]:
    """Where this Python's own libpython is, if it has one."""
    return [str(sysconfig.get_config_var("LIBDIR") or "")]


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library, mode=os.RTLD_LAZY)
    except OSError:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _listed(words: Sequence[str], last: str = "and") -> str:
    words = list(dict.fromkeys(words))
    return f" {last} ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
