"""Shows that this process's event loop runs by touching a file twice a second.

The parent of several gateway processes watches the files. A probe over the port would reach
whichever process answers, and never the frozen one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

BEAT_SECONDS = 0.5


def heartbeat_file(directory: str, pid: int) -> Path:
    return Path(directory) / f"heartbeat-{pid}"


@asynccontextmanager
async def beating(directory: str | None) -> AsyncIterator[None]:
    """Beat until the block ends; without a directory, do nothing."""
    if directory is None:
        yield
        return
    file = heartbeat_file(directory, os.getpid())
    file.touch()
    task = asyncio.create_task(_beat(file))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        # Running answers may still finish: no beat is expected any more.
        file.unlink(missing_ok=True)


async def _beat(file: Path) -> None:
    while True:
        await asyncio.sleep(BEAT_SECONDS)
        # The directory may be gone together with the process that watched it.
        with suppress(FileNotFoundError):
            os.utime(file)


async def until_silent(file: Path, seconds: float) -> None:
    """Return when an existing file has not been touched for `seconds`."""
    touched: int | None = None
    loop = asyncio.get_running_loop()
    since = before = loop.time()
    while True:
        await asyncio.sleep(BEAT_SECONDS)
        now = loop.time()
        found = _touched(file)
        # If this process was frozen itself, with the whole machine, it missed beats of others.
        if found != touched or found is None or now - before > 2 * BEAT_SECONDS:
            touched, since = found, now
        elif now - since >= seconds:
            return
        before = now


def _touched(file: Path) -> int | None:
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return None
