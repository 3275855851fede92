"""Makes a copy of the stand-in nixpkgs that knows this host.

usage: stand_in.py DIR        then: nix build .#demo-engine --override-input nixpkgs path:DIR
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

TEMPLATE = Path(__file__).parent / "nixpkgs"


def make_stand_in(target: Path) -> None:
    shutil.copytree(TEMPLATE, target, ignore=shutil.ignore_patterns("__pycache__"))
    (target / "host.json").write_text(json.dumps(host(), indent=2), encoding="utf-8")


def host() -> dict[str, object]:
    """This interpreter and its packages stand for nixpkgs' Python, this machine's pip for PyPI."""
    bash = shutil.which("bash")
    if bash is None:
        sys.exit("stand_in.py: bash was not found on PATH")
    return {
        "bash": bash,
        "path": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "interpreter": sys.executable,
        "pythonVersion": "{}.{}".format(*sys.version_info),
        # pip's configuration and cache are there.
        "home": str(Path.home()),
        # Names only: a value may hold a password, and a derivation's text is readable by all.
        "pipVariables": sorted(name for name in os.environ if is_pips(name)),
    }


def is_pips(variable: str) -> bool:
    return variable.startswith("PIP_") or variable.lower().endswith(("_proxy", "_cert_file"))


if __name__ == "__main__":
    make_stand_in(Path(sys.argv[1]))
