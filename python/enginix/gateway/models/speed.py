"""A model's recent speed: tokens per second, and the time to the first token."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

SAMPLE_SECONDS = 0.5
RATE_SECONDS = 5.0
# How many requests count as recent, and up to which age.
REQUESTS = 100
RECENT_SECONDS = 300.0


class Speed:
    """One model's speed. Sampled twice a second, so that a token costs nothing extra."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.reported = 0
        """Tokens of ended requests, and those that running ones have reported."""
        self._totals: deque[tuple[float, int]] = deque(maxlen=int(RATE_SECONDS / SAMPLE_SECONDS))
        self._first_tokens: deque[tuple[float, float]] = deque(maxlen=REQUESTS)

    def sample(self, unreported: int) -> None:
        """`unreported`: tokens that running requests have not reported yet."""
        self._totals.append((self._clock(), self.reported + unreported))

    def tokens_per_second(self, unreported: int) -> float:
        """Over the last five seconds, of all requests together."""
        if not self._totals:
            return 0.0
        then, total = self._totals[0]
        seconds = max(self._clock() - then, SAMPLE_SECONDS)
        return max(0.0, (self.reported + unreported - total) / seconds)

    def note_first_token(self, seconds: float) -> None:
        """Record the seconds to a request's first token."""
        self._first_tokens.append((self._clock(), seconds))

    def first_tokens(self) -> list[float]:
        """Seconds to the first token, of recent requests."""
        since = self._clock() - RECENT_SECONDS
        return [seconds for when, seconds in self._first_tokens if when >= since]
