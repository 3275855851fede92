"""Ends a process when its parent was killed; for a model's process the parent is Triton.

The Python backend's own check leaves a model running for ever whose threads are at work, or that
was waiting for Triton with Python's lock in its hand: no thread of it can run any Python again. So
a small process of its own keeps watch, and ends with the one it watches.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

SHARED_MEMORY = Path("/dev/shm")
# Positions in the stub's command line.
REGION, TRITON_PID = 2, 5
# The name that `ps` shows; the kernel keeps 15 characters.
NAME = "parent-watch"


def end_with_triton() -> None:
    """`end_with_parent` for a model's process; removes what it shares with Triton."""
    # Not os.getppid() alone: a Triton that was killed while this process started is not its parent
    # any more.
    triton = _argument(TRITON_PID)
    end_with_parent(int(triton) if triton.isdigit() else os.getppid(), _remove_region)


def end_with_parent(parent: int, after: Callable[[], None] = lambda: None) -> None:
    """Called first thing: from then on this process does not outlive the one that started it.

    `parent` is that one's id: it may have ended before. `after` cleans up behind this process.
    """
    # Not PR_SET_PDEATHSIG: that is about the thread which forked this process, and Triton's ends
    # as soon as the model is loaded.
    watched = os.getpid()
    try:
        processes = os.pidfd_open(parent), os.pidfd_open(watched)
    except ProcessLookupError:
        _end(after)
    except OSError:
        # A kernel without it: Triton's own check still ends idle models.
        return
    if os.getppid() != parent:
        _end(after)
    if os.fork() == 0:
        try:
            _watch(*processes, after)
        finally:
            os._exit(0)
    for process in processes:
        os.close(process)


def _watch(parent: int, watched: int, after: Callable[[], None]) -> None:
    """Runs in the watching process."""
    Path("/proc/self/comm").write_text(NAME)
    ended = select.poll()
    ended.register(parent, select.POLLIN)
    ended.register(watched, select.POLLIN)
    if parent in dict(ended.poll()):
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(watched, signal.SIGKILL)
        after()


def _end(after: Callable[[], None]) -> NoReturn:
    after()
    os._exit(1)


def _remove_region() -> None:
    # Triton made it for this process only.
    with suppress(OSError, IndexError):
        (SHARED_MEMORY / Path(_argument(REGION)).name).unlink()


def _argument(place: int) -> str:
    """An argument of the stub's command line."""
    return os.fsdecode(Path("/proc/self/cmdline").read_bytes().split(b"\0")[place])
