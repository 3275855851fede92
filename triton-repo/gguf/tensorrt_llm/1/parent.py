"""Ends a process when the one that has started it was killed, which nobody else tells it.

For a model's process that is Triton: the Python backend's own check leaves a model whose threads
are at work running for ever.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

SHARED_MEMORY = Path("/dev/shm")


def end_with_triton() -> None:
    """`end_with_parent` for a model's process; removes what it shares with Triton."""
    end_with_parent(os.getppid(), _remove_region)


def end_with_parent(parent: int, before: Callable[[], None] = lambda: None) -> None:
    """Called first thing: from then on this process does not outlive the one that started it.

    `parent` is that one's id: it may have ended before.
    """
    # Not PR_SET_PDEATHSIG: that is about the thread which forked this process, and Triton's ends
    # as soon as the model is loaded.
    try:
        process = os.pidfd_open(parent)
    except ProcessLookupError:
        _end(before)
    except OSError:
        # A kernel without it: Triton's own check ends at least the models that are idle.
        return
    if os.getppid() != parent:
        _end(before)
    arguments = (process, before)
    threading.Thread(target=_wait_for_end, args=arguments, name="parent", daemon=True).start()


def _wait_for_end(process: int, before: Callable[[], None]) -> None:
    ended = select.poll()
    ended.register(process, select.POLLIN)
    ended.poll()
    _end(before)


def _end(before: Callable[[], None]) -> NoReturn:
    before()
    os._exit(1)


def _remove_region() -> None:
    # Triton made it for the two of them alone.
    with suppress(OSError, IndexError):
        (SHARED_MEMORY / _region()).unlink()


def _region() -> str:
    """The stub's second argument."""
    arguments = Path("/proc/self/cmdline").read_bytes().split(b"\0")
    return Path(os.fsdecode(arguments[2])).name
