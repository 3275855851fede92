"""Reports in one sentence what this machine lacks, before anything is installed.

usage: check-machine.py VENV HOME [PORT... | demo [ARG...]]

`demo`: the ports of `enginix up demo ARG...` must be free.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

from enginix import prerequisites as machine  # noqa: E402


def main(venv: str, home: str, *ports: str) -> int:
    distribution, version = machine.this_distribution(), machine.python_version()
    missing = [*machine.check_platform(platform.libc_ver())]
    if wrong := machine.check_python(version, distribution):
        missing += [*wrong, *machine.check_libraries(machine.LIBRARIES)]
    else:
        libraries = (*machine.LIBRARIES, machine.libpython(version))
        missing += machine.check_venv()
        missing += machine.check_libraries(libraries, machine.libpython_directories())
    missing += machine.check_shared_memory()
    missing += machine.check_disk([Path(venv), Path(home)])
    if ports[:1] == ("demo",):
        flags = demo_ports(ports[1:])
        missing += machine.check_ports(flags, flags)
    else:
        missing += machine.check_ports([int(port) for port in ports])
    if missing:
        print("enginix:", machine.sentence(missing, distribution, version), file=sys.stderr)
    return int(bool(missing))


def demo_ports(arguments: Sequence[str]) -> dict[int, str]:
    """Port -> the option that chooses it; --set may choose any, so `enginix up` checks then."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--set", action="append")
    for port, flag in machine.DEMO_PORTS.items():
        parser.add_argument(flag, dest=flag, type=int, default=port)
    chosen = vars(parser.parse_known_args(arguments)[0])
    if chosen.pop("set"):
        return {}
    return {port: flag for flag, port in chosen.items()}


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
