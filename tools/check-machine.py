"""Reports in one sentence what this machine lacks, before anything is installed.

usage: check-machine.py VENV HOME [PORT...]
"""

from __future__ import annotations

import platform
import sys
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
    missing += machine.check_ports([int(port) for port in ports])
    if missing:
        print("enginix:", machine.sentence(missing, distribution, version), file=sys.stderr)
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
