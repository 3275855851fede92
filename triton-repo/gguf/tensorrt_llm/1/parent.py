"""Ends a model's process when Triton was killed, which nobody else tells it.

The Python backend's own check leaves a model whose threads are at work running for ever.
"""

from __future__ import annotations

import os
import select
import threading
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

SHARED_MEMORY = Path("/dev/shm")


def end_with_triton() -> None:
    """Called first thing: from then on this process does not outlive the one that started it."""
    # Not PR_SET_PDEATHSIG: that is about the thread which forked this process, and Triton's ends
    # as soon as the model is loaded.
    try:
        triton = os.pidfd_open(os.getppid())
    except ProcessLookupError:
        _end()
    except OSError:
        # A kernel without it: Triton's own check ends at least the models that are idle.
        return
    threading.Thread(target=_wait_for_end, args=(triton,), name="parent", daemon=True).start()


def _wait_for_end(process: int) -> None:
    ended = select.poll()
    ended.register(process, select.POLLIN)
    ended.poll()
    _end()


def _end() -> NoReturn:
    # Triton made this region for the two of them alone.
    with suppress(OSError, IndexError):
        (SHARED_MEMORY / _region()).unlink()
    os._exit(1)


def _region() -> str:
    """The stub's second argument."""
    arguments = Path("/proc/self/cmdline").read_bytes().split(b"\0")
    return Path(os.fsdecode(arguments[2])).name
