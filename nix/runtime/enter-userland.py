"""Runs a program of a container image's file system with this machine's files and GPUs.

usage: enter-userland.py SPEC PROGRAM [ARGUMENT...]

SPEC is JSON: {"image": DIR, "bwrap": FILE, "environment": {NAME: VALUE}}. The image supplies the
system (/usr, /lib, /etc, /opt and what only it has), so NVIDIA's programs run as they were built,
with nothing patched. Everything else is this machine's and keeps its path: a path means the same
inside and outside. The GPU driver's libraries belong to this machine's kernel module and come from
here too, never from the image.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path

SYSTEM = {"bin", "etc", "lib", "lib32", "lib64", "libx32", "opt", "sbin", "usr"}
KERNEL = {"dev", "proc", "sys"}
BOOT = {"boot", "lost+found"}

# Who the caller is and how names are found is this machine's business, where the image has a place
# for it.
HOST_FILES = ("etc/group", "etc/hostname", "etc/hosts", "etc/passwd", "etc/resolv.conf")

# These speak of this machine's programs and libraries.
FORGOTTEN = {"LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONHOME", "PYTHONPATH"}

DRIVERS = Path("/.host-driver")
DRIVER_FILES = ("libcuda.so*", "libcudadebugger.so*", "libnvidia-*.so*", "libnvcuvid.so*")
NIXOS_DRIVERS = Path("run/opengl-driver/lib")

ENDINGS = {"HUP": signal.SIGHUP, "INT": signal.SIGINT, "TERM": signal.SIGTERM}


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    drivers = driver_libraries(Path("/"))
    command = [
        *(spec["bwrap"], "--die-with-parent"),
        *mounts(Path(spec["image"]), Path("/")),
        *driver_mounts(drivers),
        *("--chdir", os.getcwd(), "--"),
        *("/usr/bin/env", f"--default-signal={','.join(ENDINGS)}"),
        *sys.argv[2:],
    ]
    # bubblewrap stays as the parent and would leave at the first signal of its process group, and
    # take the program with it. The program itself gets the signals, and ends in its own time.
    for number in ENDINGS.values():
        signal.signal(number, signal.SIG_IGN)
    os.execve(spec["bwrap"], command, environment(os.environ, spec["environment"], drivers))


def mounts(image: Path, host: Path) -> Iterator[str]:
    """bubblewrap's arguments that put the root file system together."""
    yield from ("--tmpfs", "/")
    ours = {entry.name for entry in host.iterdir() if entry.is_dir()} - SYSTEM - KERNEL - BOOT
    for entry in sorted(image.iterdir()):
        if entry.name in ours | KERNEL:
            continue
        if entry.is_symlink():
            yield from ("--symlink", os.readlink(entry), f"/{entry.name}")
        else:
            yield from ("--ro-bind", str(entry), f"/{entry.name}")
    for name in sorted(ours):
        yield from ("--bind", str(host / name), f"/{name}")
    yield from (
        "--dev-bind",
        "/dev",
        "/dev",
        "--bind",
        "/proc",
        "/proc",
        "--ro-bind",
        "/sys",
        "/sys",
    )
    for name in HOST_FILES:
        if (image / name).is_file() and (host / name).exists():
            yield from ("--ro-bind", str((host / name).resolve()), f"/{name}")


def driver_mounts(libraries: Mapping[str, Path]) -> Iterator[str]:
    for name, path in libraries.items():
        yield from ("--ro-bind", str(path), str(DRIVERS / name))


def driver_libraries(host: Path) -> dict[str, Path]:
    """Name -> file of the GPU driver's libraries; empty on a machine without a driver."""
    folder = driver_folder(host)
    if folder is None:
        return {}
    return {
        path.name: path.resolve()
        for path in sorted(folder.iterdir())
        if any(fnmatch(path.name, pattern) for pattern in DRIVER_FILES) and path.exists()
    }


def driver_folder(host: Path) -> Path | None:
    """NixOS has a folder for it; elsewhere the loader's cache knows where libcuda is."""
    if (host / NIXOS_DRIVERS).is_dir():
        return host / NIXOS_DRIVERS
    ldconfig = host / "sbin" / "ldconfig"
    if not ldconfig.exists():
        return None
    cache = subprocess.run([ldconfig, "-p"], check=True, capture_output=True, text=True).stdout
    for line in cache.splitlines():
        if line.strip().startswith("libcuda.so.1 "):
            return Path(line.rpartition("=> ")[2]).parent
    return None


def environment(
    outside: Mapping[str, str], image: Mapping[str, str], drivers: Mapping[str, Path]
) -> dict[str, str]:
    """The caller's environment with the image's settings, and the driver before its libraries."""
    inside = {name: value for name, value in outside.items() if name not in FORGOTTEN} | image
    libraries = [str(DRIVERS)] if drivers else []
    if theirs := image.get("LD_LIBRARY_PATH"):
        libraries.append(theirs)
    return inside | ({"LD_LIBRARY_PATH": ":".join(libraries)} if libraries else {})


if __name__ == "__main__":
    main()
