"""Tracks requests that wait for their first token, and which of them later ones overtook.

A request that waits while three later ones got their token may have a long prompt, or part of its
server may have died: a reason to probe, and no more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

SECONDS = 3.0
OVERTAKEN_BY = 3


@dataclass(slots=True)
class Waiting:
    task: asyncio.Task[Any]
    since: float
    overtaken: int = 0
    given_up: str | None = None


class FirstTokens:
    """One model's requests. Costs one step per request, none per token."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: dict[int, Waiting] = {}
        self._count = 0

    def asked(self, task: asyncio.Task[Any]) -> int:
        """Record that `task` sends a request to the server; return the request's number."""
        self._count += 1
        self._waiting[self._count] = Waiting(task, self._clock())
        return self._count

    def arrived(self, number: int) -> None:
        """Record the request's first token."""
        if self._waiting.pop(number, None) is None:
            return
        # In the order in which they were sent.
        for other, waiting in self._waiting.items():
            if other > number:
                break
            waiting.overtaken += 1

    def left(self, numbers: Sequence[int]) -> None:
        """Record that the requests ended, with or without a token."""
        for number in numbers:
            self._waiting.pop(number, None)

    def longest(self) -> float:
        """How many seconds the oldest request has waited."""
        first = next(iter(self._waiting.values()), None)
        return self._clock() - first.since if first else 0.0

    def give_up(self, why: str) -> None:
        """End all waiting requests; their clients get `why`."""
        for waiting in self._waiting.values():
            if waiting.given_up is None:
                waiting.given_up = why
                waiting.task.cancel()

    def given_up(self, numbers: Sequence[int]) -> str | None:
        """Why these requests were given up, or None."""
        waiting = (self._waiting.get(number) for number in numbers)
        return next((each.given_up for each in waiting if each and each.given_up), None)

    def stalled(self) -> int:
        """How many requests seem to wait in vain."""
        since = self._clock() - SECONDS
        return sum(
            waiting.overtaken >= OVERTAKEN_BY and waiting.since <= since
            for waiting in self._waiting.values()
        )
