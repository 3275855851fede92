"""Shell scripts and Nix files pass the same tools here as in `nix flake check`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [ROOT / ".ci" / "run", *sorted((ROOT / "tools").rglob("*.sh"))]
NIX_FILES = [
    ROOT / "flake.nix",
    *sorted((ROOT / "nix").rglob("*.nix")),
    *sorted((ROOT / "tests" / "nix").rglob("*.nix")),
]


@pytest.mark.parametrize(
    ("command", "files"),
    [
        (["shellcheck"], SCRIPTS),
        (["nixfmt", "--check"], NIX_FILES),
        (["deadnix", "--fail"], NIX_FILES),
    ],
    ids=["shellcheck", "nixfmt", "deadnix"],
)
def test_a_tool_finds_nothing_wrong(command: list[str], files: Sequence[Path]) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    program = shutil.which(command[0], path=path)
    if program is None:
        pytest.skip(f"there is no {command[0]} here; `nix develop` has it")
    done = subprocess.run(
        [program, *command[1:], *map(str, files)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
