"""Finds a build's processes, including orphans, and which of them still write files.

MPI's daemons and the workers of process pools leave their parent's session and outlive it. The
environment they inherited identifies them, and /proc lists the files they hold open.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from enginix.engine.trtllm.command import MARK
from enginix.marked import marked
from enginix.process import descendants

PROC = Path("/proc")


def family(pid: int, mark: str) -> set[int]:
    return {pid, *descendants(pid), *marked(MARK, mark)}


def is_open(paths: Iterable[Path], pids: Iterable[int]) -> bool:
    """Whether one of these processes holds one of these files open."""
    wanted = set()
    for path in paths:
        with suppress(OSError):
            wanted.add(_identity(path))
    return any(held in wanted for pid in pids for held in _held_files(pid))


def _held_files(pid: int) -> Iterable[tuple[int, int]]:
    with suppress(OSError):
        for link in (PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):
                yield _identity(link)


def _identity(path: Path) -> tuple[int, int]:
    """A file's identity; its path differs inside a container."""
    status = path.stat()
    return status.st_dev, status.st_ino
