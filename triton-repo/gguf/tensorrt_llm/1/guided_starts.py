"""Starts requests with guides on a thread of their own: compiling one must hold up nobody else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue


class GuidedStarts:
    """Runs what it is given, one after the other."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="guided-starts", daemon=True)
        self._thread.start()

    def put(self, start: Callable[[], None]) -> None:
        self._queue.put(start)

    def close(self) -> None:
        """Returns when all have been started."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (start := self._queue.get()) is not None:
            start()
