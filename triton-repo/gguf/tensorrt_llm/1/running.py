"""Tracks running requests, and notices those whose clients have left."""

from __future__ import annotations

import threading
from collections.abc import Callable

from engine_request import Generation
from responses import Reply


class Running:
    """Asks Triton about every request each `period` seconds, on a thread of its own.

    Triton does not say it by itself, and asking costs about as much as sending a response does:
    too much to do it for every token.
    """

    def __init__(
        self, period: float, cancel: Callable[[Generation], None], tick: Callable[[], None]
    ) -> None:
        self._period = period
        self._cancel = cancel
        self._tick = tick
        self._generations: dict[Reply, Generation] = {}
        self._changed = threading.Condition()
        self._is_open = True
        self._thread = threading.Thread(target=self._watch, name="cancellations", daemon=True)
        self._thread.start()

    def add(self, reply: Reply, generation: Generation) -> None:
        with self._changed:
            self._generations[reply] = generation
            self._changed.notify()

    def remove(self, reply: Reply) -> None:
        with self._changed:
            self._generations.pop(reply, None)

    def stop(self, request_id: str) -> None:
        """Cancel the requests with this id, as a request with `stop` demands."""
        for reply, generation in self._snapshot():
            if reply.request_id == request_id:
                self._cancel(generation)

    def close(self) -> None:
        with self._changed:
            self._is_open = False
            self._changed.notify()
        self._thread.join()

    def _snapshot(self) -> list[tuple[Reply, Generation]]:
        with self._changed:
            return list(self._generations.items())

    def _watch(self) -> None:
        while self._is_open:
            for reply, generation in self._snapshot():
                if reply.is_cancelled():
                    self._cancel(generation)
            self._tick()
            with self._changed:
                if self._is_open:
                    self._changed.wait(self._period if self._generations else None)
