"""What `enginix start` began and is still running: one file each, with the process it is about."""

from __future__ import annotations

import asyncio
import fcntl
import json
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from enginix.errors import ProcessError
from enginix.process import birth_of, descendants, kill

# Longer than a server gets to end by itself.
GRACE = 30.0


@dataclass(frozen=True, slots=True)
class Started:
    """`born` tells its process from a later one with the same id."""

    name: str
    model: str
    engine: str
    url: str
    log: str
    pid: int
    born: int

    @property
    def runs(self) -> bool:
        return birth_of(self.pid) == self.born


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Nobody else looks at what runs, or adds to it, until the block ends."""
    directory = _directory(home)
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remember(home: Path, started: Started) -> None:
    path = _file(home, started.name)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(started), indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def forget(home: Path, started: Started) -> None:
    _file(home, started.name).unlink(missing_ok=True)


def running(home: Path) -> list[Started]:
    """Files of processes that have ended since are removed."""
    found = []
    for path in sorted(_directory(home).glob("*.json")):
        try:
            started = Started(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ProcessError(
                f"{path} does not say what was started ({error}); look for `enginix up` among the "
                "processes, end it, and remove this file"
            ) from None
        if started.runs:
            found.append(started)
        else:
            path.unlink(missing_ok=True)
    return found


def end(started: Started) -> None:
    """Return once it, and everything it began, is gone."""
    if started.runs:
        asyncio.run(_end(started))


async def _end(started: Started) -> None:
    family = _with_births([started.pid, *descendants(started.pid)])
    try:
        await asyncio.wait_for(kill(started.pid, signal.SIGTERM), GRACE)
    except TimeoutError:
        family |= _with_births(descendants(started.pid))
        await kill(started.pid)
    # It ends its servers before it ends; should it have been killed, they were told by the kernel.
    left = [pid for pid, born in family.items() if birth_of(pid) == born]
    await asyncio.gather(*(kill(pid) for pid in left))


def _with_births(pids: Iterable[int]) -> dict[int, int]:
    births = {pid: birth_of(pid) for pid in pids}
    return {pid: born for pid, born in births.items() if born is not None}


def _directory(home: Path) -> Path:
    return home / "started"


def _file(home: Path, name: str) -> Path:
    return _directory(home) / f"{name}.json"
