"""Tracks running requests, and notices those whose clients have left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from engine_request import Generation
from responses import Reply

# Of a period: who comes at about its end need not wait for another one.
NEARLY = 0.8


class Running:
    """Asks Triton about every request each `period` seconds.

    Triton does not say it by itself, and asking costs about as much as sending a response does:
    too much to do it for every token. It costs less right after a response, while Triton's threads
    are awake: requests that get tokens are asked about then, others by a thread of its own.
    """

    def __init__(
        self, period: float, cancel: Callable[[Generation], None], tick: Callable[[], None]
    ) -> None:
        self._period = period
        self._nearly = period * NEARLY
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

    def after_response(self, reply: Reply) -> None:
        """Called by the thread that sends the reply's responses."""
        reply.sent_at = now = time.monotonic()
        if now - reply.asked_at > self._nearly:
            self._ask(reply)

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

    def _ask(self, reply: Reply) -> None:
        if reply.is_cancelled() and (generation := self._generations.get(reply)) is not None:
            self._cancel(generation)

    def _watch(self) -> None:
        while self._is_open:
            now = time.monotonic()
            for reply, _ in self._snapshot():
                if now - max(reply.asked_at, reply.sent_at) > self._nearly:
                    self._ask(reply)
            self._tick()
            with self._changed:
                if self._is_open:
                    self._changed.wait(self._period if self._generations else None)
