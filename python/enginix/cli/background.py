"""Tracks what `enginix start` has started: a file for each, and a lock held while it runs.

The lock, not the process id, shows that it runs: a process that shares the home but not the PID
namespace would see no process.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from enginix.errors import ProcessError
from enginix.owned import hold, hold_soon
from enginix.process import birth_of, descendants, kill
from enginix.records import decode_file, write_json

# Longer than the grace period of a server.
GRACE = 30.0


@dataclass(frozen=True, slots=True)
class Started:
    """`born` distinguishes its process from a later one with the same id."""

    name: str
    model: str
    engine: str
    url: str
    log: str
    pid: int
    born: int

    @property
    def is_seen(self) -> bool:
        return birth_of(self.pid) == self.born


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Keep other commands from reading or changing what runs until the block ends."""
    directory = _directory(home)
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def lock_for(home: Path, name: str) -> Iterator[int]:
    """A descriptor that the started process keeps open until it ends."""
    path = _file(home, name).with_suffix(".lock")
    descriptor = hold_soon(path, os.O_CREAT)
    if descriptor is None:
        raise ProcessError(f"{path} is held, so {name} runs already; `enginix stop` ends it")
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def remember(home: Path, started: Started) -> None:
    write_json(_file(home, started.name), asdict(started))


def forget(home: Path, started: Started) -> None:
    _file(home, started.name).unlink(missing_ok=True)
    _is_held(_file(home, started.name).with_suffix(".lock"))


def running(home: Path) -> list[Started]:
    """What runs now; removes the files of what has ended."""
    found = []
    for path in sorted(_directory(home).glob("*.json")):
        started = decode_file(Started, path, _unreadable)
        if _is_held(path.with_suffix(".lock")):
            found.append(started)
        else:
            path.unlink(missing_ok=True)
    return found


def _unreadable(reason: str) -> ProcessError:
    return ProcessError(
        f"{reason}; look for `enginix up` among the processes, end it, and remove this file"
    )


def _is_held(lock: Path) -> bool:
    try:
        descriptor = hold(lock)
    except FileNotFoundError:
        return False
    if descriptor is None:
        return True
    lock.unlink(missing_ok=True)
    os.close(descriptor)
    return False


def end(home: Path, started: Started) -> None:
    """End it; return once it and everything it started is gone."""
    if started.is_seen:
        asyncio.run(_end(started))
    elif _is_held(_file(home, started.name).with_suffix(".lock")):
        raise ProcessError(
            f"{started.model} runs where this command does not see its processes, such as in "
            "another container that shares ENGINIX_HOME; stop it there"
        )


async def _end(started: Started) -> None:
    family = _with_births([started.pid, *descendants(started.pid)])
    try:
        async with asyncio.timeout(GRACE):
            await kill(started.pid, signal.SIGTERM)
    except TimeoutError:
        family |= _with_births(descendants(started.pid))
        await kill(started.pid)
    # It stops its servers before it ends; if it was killed, the kernel has signalled them.
    left = [pid for pid, born in family.items() if birth_of(pid) == born]
    await asyncio.gather(*(kill(pid) for pid in left))


def _with_births(pids: Iterable[int]) -> dict[int, int]:
    births = {pid: birth_of(pid) for pid in pids}
    return {pid: born for pid, born in births.items() if born is not None}


def _directory(home: Path) -> Path:
    return home / "started"


def _file(home: Path, name: str) -> Path:
    return _directory(home) / f"{name}.json"
