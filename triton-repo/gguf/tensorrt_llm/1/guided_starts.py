"""Starts requests with guides on a separate thread: compiling one must not delay others.

Short guides go first: one that takes seconds is long, and those that wait behind it would wait for
all of its kind.
"""

from __future__ import annotations

import threading
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
    """Runs jobs one at a time: the smallest first, and in order among equals."""

    def __init__(self) -> None:
        self._queue: PriorityQueue[Waiting] = PriorityQueue()
        self._numbers = count()
        self._thread = threading.Thread(target=self._run, name="guided-starts", daemon=True)
        self._thread.start()

    def put(self, start: Callable[[], None], size: int) -> None:
        self._queue.put(Waiting(size, next(self._numbers), start))

    def close(self) -> None:
        """Return when all have been started."""
        self._queue.put(Waiting(float("inf"), next(self._numbers), None))
        self._thread.join()

    def _run(self) -> None:
        while (start := self._queue.get().start) is not None:
            start()
