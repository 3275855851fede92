"""Keeps llama.cpp's threads on a core each, where it uses all of them.

They wait for each other some 400 times a step, awake. Linux divides processors between sessions and
containers, not threads: beside one other busy program it has been seen to leave both of our threads
on one core for good, each waiting for the other in its turn, at a fortieth of the speed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path

from threads import cores

OWN_TASKS = Path("/proc/self/task")
SELF = 0


class Placement:
    """Belongs to the thread that calls llama.cpp. OpenMP's others are made by its first step."""

    def __init__(self) -> None:
        self._allowed = os.sched_getaffinity(0)
        self._cores = cores()
        self._has_workers = False

    @contextmanager
    def step(self, threads: int) -> Iterator[None]:
        """Around the first step with another number of threads than before."""
        _keep(SELF, self._allowed)
        before = _tasks()
        yield
        if threads == 1 or threads != len(self._cores):
            # Nothing to wait for, or cores to spare: Linux knows better.
            return
        if not self._has_workers:
            self._place_workers(_tasks() - before)
        if self._has_workers:
            _keep(SELF, self._cores[0])

    def _place_workers(self, made: set[int]) -> None:
        workers = made - {thread.native_id for thread in threading.enumerate()}
        # Another library's threads may have come at the same moment.
        if len(workers) != len(self._cores) - 1:
            return
        for worker, core in zip(workers, self._cores[1:], strict=True):
            _keep(worker, core)
        self._has_workers = True


def _keep(thread: int, cpus: Set[int]) -> None:
    # A container's processors may have changed: the kernel has placed the thread then.
    with suppress(OSError):
        os.sched_setaffinity(thread, cpus)


def _tasks() -> set[int]:
    return {int(task.name) for task in OWN_TASKS.iterdir()}
