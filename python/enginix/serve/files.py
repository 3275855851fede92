"""Notices that files have changed, by what the file system says of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

# What changes with a file's content; None if there is no file.
Stamp = tuple[tuple[int, ...] | None, ...]


def stamp(paths: Sequence[Path]) -> Stamp:
    """Links are followed: a Kubernetes ConfigMap changes by a link to another directory."""
    return tuple(map(_stamp, paths))


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino, status.st_size
