"""Starts requests with guides on separate threads: compiling one must not delay others.

Short guides go first: one that takes seconds is long, and those that wait behind it would wait for
all of its kind. Guides that are slow to compile have a thread that takes a small share of a core.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from queue import PriorityQueue


@dataclass(order=True, slots=True)
class Waiting:
    size: float
    number: int
    start: Callable[[], None] | None = field(compare=False)


class GuidedStarts:
    """Runs jobs one at a time: the smallest first, and in order among equals.

    `share`: how much of one core the jobs may take; after each the thread pauses as long as needed.
    """

    def __init__(self, name: str, *, share: float = 1.0) -> None:
        self._share = share
        self._queue: PriorityQueue[Waiting] = PriorityQueue()
        self._numbers = count()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, start: Callable[[], None], size: int) -> None:
        self._queue.put(Waiting(size, next(self._numbers), start))

    def close(self) -> None:
        """Return when all have been started."""
        self._closing.set()
        self._queue.put(Waiting(float("inf"), next(self._numbers), None))
        self._thread.join()

    def _run(self) -> None:
        while (start := self._queue.get().start) is not None:
            began = time.thread_time()
            start()
            took = time.thread_time() - began
            self._closing.wait(took / self._share - took)
