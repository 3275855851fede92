"""Notices a source file that is replaced or written to while a build reads it.

A build reads its sources several times: headers, weights, and all of them for their hashes. Files
of two versions would give an engine whose manifest records only one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from enginix.checkpoint.load import source_files
from enginix.errors import NotACheckpoint, SourceChanged

Stamps = Mapping[str, list[int]]
"""Source file -> its size, its time, and its inode."""


def stamp_files(directory: Path) -> dict[str, list[int]]:
    return {name: _stamp(directory / name) for name in source_files(directory)}


def require_unchanged(directory: Path, before: Stamps) -> None:
    """Raise SourceChanged unless the source files are the ones that were stamped."""
    try:
        now = stamp_files(directory)
    except (NotACheckpoint, OSError) as error:
        raise SourceChanged(f"{directory} was changed during the build: {error}{_DONE}") from error
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise SourceChanged(f"{directory / name} was changed during the build{_DONE}")


_DONE = "; nothing of it was kept, build again when nothing writes to the checkpoint"


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]
