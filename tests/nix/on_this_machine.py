"""nix as the tests drive it: its own store, the stand-in for nixpkgs, nothing of the user's."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
OLDEST = (2, 18)

SETTINGS = """
experimental-features = nix-command flakes
build-users-group =
substituters =
flake-registry =
sandbox = false
max-jobs = auto
warn-dirty = false
"""


def find_nix() -> str | None:
    """The nix on PATH, or the one `make test` put into .nix/."""
    return shutil.which("nix") or shutil.which(str(ROOT / ".nix" / "bin" / "nix"))


def too_old(program: str) -> str | None:
    words = subprocess.run(
        [program, "--version"], check=True, capture_output=True, text=True
    ).stdout
    found = re.search(r"(\d+)\.(\d+)", words)
    if found and (int(found[1]), int(found[2])) >= OLDEST:
        return None
    return words.strip()


@dataclass(frozen=True, slots=True)
class Nix:
    program: str
    env: dict[str, str]
    nixpkgs: Path

    def run(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [self.program, *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, env=self.env, capture_output=True, text=True)
        assert done.returncode == 0 or not check, f"{' '.join(command)}\n{done.stderr}"
        return done

    @property
    def flake_options(self) -> list[str]:
        return ["--override-input", "nixpkgs", f"path:{self.nixpkgs}"]

    def build(self, *names: str) -> list[Path]:
        """The store paths of packages of this flake."""
        wanted = [f".#{name}" for name in names]
        printed = ["--no-link", "--print-out-paths"]
        return [
            Path(line)
            for line in self.run("build", *wanted, *self.flake_options, *printed).stdout.split()
        ]

    def evaluate(self, name: str, function: str = "value: value") -> Any:
        words = self.run(
            "eval", f".#{name}", *self.flake_options, "--json", "--apply", function
        ).stdout
        return json.loads(words)

    def build_expression(self, text: str) -> subprocess.CompletedProcess[str]:
        """Build `text`, in which the names of the stand-in nixpkgs can be used."""
        expression = f"with import {self.nixpkgs} {{ }}; {text}"
        return self.run(
            "build", "--impure", "--no-link", "--print-out-paths", "-L", "--expr", expression,
            check=False,
        )  # fmt: skip


def environment(home: Path) -> dict[str, str]:
    """This process's environment, with a store, a cache and a git of nix's own in `home`."""
    (home / "git").mkdir(parents=True)
    # The checkout may belong to another user than the one who runs the tests.
    (home / ".gitconfig").write_text("[safe]\n\tdirectory = *\n", encoding="utf-8")
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("NIX_")},
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "NIX_STORE_DIR": str(home / "store"),
        "NIX_STATE_DIR": str(home / "state"),
        "NIX_LOG_DIR": str(home / "log"),
        "NIX_REMOTE": "local",
        "NIX_CONFIG": SETTINGS,
    }
