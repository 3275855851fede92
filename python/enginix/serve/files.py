"""Takes up changes of files while something runs that was started with them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from enginix.errors import EnginixError, UsageError

logger = logging.getLogger(__name__)

Content = TypeVar("Content")
# What changes with a file's content; None if there is no file.
Stamp = tuple[tuple[int, ...] | None, ...]

# A file is read once it has not changed for as long: it may be half-written before.
LOOK_SECONDS = 1.0


def stamp(paths: Sequence[Path]) -> Stamp:
    """Links are followed: a Kubernetes ConfigMap changes by a link to another directory."""
    return tuple(map(_stamp, paths))


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino, status.st_size


@dataclass(frozen=True, slots=True)
class WatchedFiles:
    paths: Sequence[Path]
    first: Stamp
    """Of the files before they were first read."""
    watched: bool = False
    """Whether they are read again when they change."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set to have them read again now."""


async def take_up_changes(
    files: WatchedFiles,
    read: Callable[[], Content],
    apply: Callable[[Content], Awaitable[None]],
    refuse: Callable[[str], None],
) -> None:
    """`apply` what `read` returns, in a thread; `refuse` what it raises. Never returns."""
    known: Stamp | None = files.first
    last = known
    while True:
        asked = await _until(files.asked, LOOK_SECONDS if files.watched else None)
        # In a thread: a file system may hang.
        now = await asyncio.to_thread(stamp, files.paths)
        if asked or (now != known and now == last):
            # From before the reading: the next look finds a change in between.
            known = now
            try:
                await _take_up(files.paths, None if asked else now, read, apply, refuse)
            except _Unstable:
                known = None
            except Exception as error:
                # A bug, but what serves must go on.
                logger.exception("the files could not be taken up")
                refuse(f"the files could not be taken up: {error!r}")
        last = now


class _Unstable(Exception):
    """A file has changed while it was read."""


async def _take_up(
    paths: Sequence[Path],
    expected: Stamp | None,
    read: Callable[[], Content],
    apply: Callable[[Content], Awaitable[None]],
    refuse: Callable[[str], None],
) -> None:
    refusal = None
    try:
        await asyncio.to_thread(_require_files, paths)
        content = await asyncio.to_thread(read)
    except EnginixError as error:
        refusal = str(error)
    except OSError as error:
        # As of a path in them that is too long, or below a directory of another user.
        refusal = f"{error.filename}: {error.strerror}"
    if expected and await asyncio.to_thread(stamp, paths) != expected:
        raise _Unstable
    if refusal is None:
        await apply(content)
    else:
        logger.error("%s; nothing is changed until that is corrected", refusal)
        refuse(refusal)


def _require_files(paths: Sequence[Path]) -> None:
    """Reading a pipe would wait for ever, even after the end of what serves."""
    for path in paths:
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is no file; expected a text file")


async def _until(asked: asyncio.Event, seconds: float | None) -> bool:
    """Whether it was set within `seconds`; then it is no more."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asked.wait()
    was_set = asked.is_set()
    asked.clear()
    return was_set
