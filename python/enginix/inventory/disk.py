"""How much a directory takes, when it was last used, and how it is removed.

Links are not followed, but for a runtime's name: a link to the hidden directory beside it in which
`enginix setup` made it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from enginix.errors import RemovalFailed

# Read at every start of the environment's Python, and never by enginix.
RUNTIME_WITNESS = "pyvenv.cfg"
# Part of a path's name while it is being removed.
REMOVING = ".removing-"


@dataclass(frozen=True, slots=True)
class Measure:
    size_bytes: int
    """The disk space it takes: sparse and compressed files count as they are stored."""
    last_used: float
    """Seconds since the epoch; most file systems keep it to the day."""


def measure(path: Path) -> Measure:
    path = _files_of_runtime(path) or path
    size, largest, seen = 0, -1, set()
    used = path.lstat().st_mtime
    for entry in _files(path):
        if (identity := (entry.st_dev, entry.st_ino)) in seen:
            continue
        seen.add(identity)
        size += min(entry.st_size, entry.st_blocks * 512)
        if entry.st_size > largest:
            # The weights: the small files beside them are read to list what is here.
            largest, used = entry.st_size, max(entry.st_atime, entry.st_mtime)
    with suppress(OSError):
        used = (path / RUNTIME_WITNESS).lstat().st_atime
    return Measure(size, used)


def remove(path: Path) -> None:
    """Remove a path and its content; an interruption leaves nothing under the path's own name."""
    try:
        _remove(path)
    except OSError as error:
        where = error.filename or path
        raise RemovalFailed(f"{path} is not removed: {where}: {error.strerror}") from error


def _remove(path: Path) -> None:
    files = _files_of_runtime(path)
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        if files:
            shutil.rmtree(files)
        return
    if not path.name.startswith("."):
        # Nothing uses a directory with a hidden name.
        path = path.rename(path.with_name(f".{path.name}{REMOVING}{secrets.token_hex(4)}"))
    shutil.rmtree(path)


def _files_of_runtime(path: Path) -> Path | None:
    if not path.is_symlink():
        return None
    target = path.parent / path.readlink()
    is_made_for_it = target.parent == path.parent and target.name.startswith(f".{path.name}-")
    return target if is_made_for_it and target.is_dir() else None


def _files(path: Path) -> Iterator[os.stat_result]:
    if path.is_symlink() or not path.is_dir():
        yield path.lstat()
        return
    for parent, _, names in os.walk(path):
        for name in names:
            try:
                found = os.lstat(os.path.join(parent, name))
            except FileNotFoundError:
                # A download or a build may continue meanwhile.
                continue
            if stat.S_ISREG(found.st_mode):
                yield found
