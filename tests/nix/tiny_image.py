"""A root file system of a few files: this machine's shell and what it needs, and nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

PROGRAMS = ("cat", "env", "ls", "sh", "sleep", "touch")


def make_image(root: Path, *more: str) -> Path:
    """With these programs as well."""
    for name in (*PROGRAMS, *more):
        program = shutil.which(name)
        assert program is not None
        add(root, Path("/usr/bin") / name, Path(program))
        for library in libraries(program):
            add(root, in_usr(library), library)
    for name in ("bin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "etc").mkdir()
    (root / "etc" / "os-release").write_text("NAME=tiny\n", encoding="utf-8")
    (root / "only-in-the-image").mkdir()
    return root


def add(root: Path, path: Path, source: Path) -> None:
    target = root / path.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def libraries(program: str) -> list[Path]:
    words = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    return [Path(found) for found in re.findall(r"(/\S+) \(0x", words)]


def in_usr(library: Path) -> Path:
    return library if library.is_relative_to("/usr") else Path("/usr") / library.relative_to("/")
