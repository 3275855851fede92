"""Finds what a build started and who of them still writes, wherever they have gone.

MPI's daemons and the workers of process pools leave their parent's session, and outlive it. The
environment they inherited still tells whose they are, and /proc tells which files they hold open.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from enginix.engine.trtllm.command import MARK
from enginix.marked import marked
from enginix.process import descendants

PROC = Path("/proc")
PAGE = os.sysconf("SC_PAGE_SIZE")


def family(pid: int, mark: str) -> set[int]:
    return {pid, *descendants(pid), *marked(MARK, mark)}


def is_open(paths: Iterable[Path], pids: Iterable[int]) -> bool:
    """Does one of these processes hold one of these files open?"""
    wanted = set()
    for path in paths:
        with suppress(OSError):
            wanted.add(_identity(path))
    return any(held in wanted for pid in pids for held in _held_files(pid))


def resident_memory(pids: Iterable[int]) -> int:
    """Bytes of RAM the processes have together; what they share is counted again."""
    total = 0
    for pid in pids:
        with suppress(OSError, ValueError, IndexError):
            total += int((PROC / str(pid) / "statm").read_text().split()[1]) * PAGE
    return total


def _held_files(pid: int) -> Iterable[tuple[int, int]]:
    with suppress(OSError):
        for link in (PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):
                yield _identity(link)


def _identity(path: Path) -> tuple[int, int]:
    """Not the name: inside a container the same file has another one."""
    status = path.stat()
    return status.st_dev, status.st_ino
