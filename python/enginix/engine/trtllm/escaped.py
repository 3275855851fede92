"""Finds what a build started and who of them still writes, wherever they have gone.

MPI's daemons and the workers of process pools leave their parent's session, and outlive it. The
environment they inherited still tells whose they are, and /proc tells which files they hold open.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from enginix.engine.trtllm.command import MARK
from enginix.process import descendants, kill

logger = logging.getLogger(__name__)

UNKILLABLE = 10.0
"""Seconds after which a process counts as one that cannot be killed."""

PROC = Path("/proc")
PAGE = os.sysconf("SC_PAGE_SIZE")


def marked(mark: str) -> set[int]:
    """Process ids of everything whose environment carries `mark`, but for ourselves."""
    variable = f"{MARK}={mark}".encode()
    found = set()
    for entry in os.listdir(PROC):
        if entry.isdigit() and int(entry) != os.getpid():
            # Gone meanwhile, or somebody else's: then it is not ours.
            with suppress(OSError):
                if variable in (PROC / entry / "environ").read_bytes().split(b"\0"):
                    found.add(int(entry))
    return found


def family(pid: int, mark: str) -> set[int]:
    return {pid, *descendants(pid), *marked(mark)}


async def end_marked(mark: str) -> None:
    """SIGKILL everything that carries `mark`, until nothing new appears; wait until it is gone."""
    while found := marked(mark):
        try:
            await asyncio.wait_for(asyncio.gather(*(kill(pid) for pid in found)), UNKILLABLE)
        except TimeoutError:
            # In an uninterruptible call of a driver: nothing can end it, so nothing waits for it.
            logger.warning("processes %s survive SIGKILL and are left behind", sorted(found))
            return


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
