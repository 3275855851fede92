"""How long to wait before restarting a failed server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds. The first restart is immediate: most failures happen once."""

    first: float = 1.0
    most: float = 60.0
    stable: float = 60.0
    """A server that served this long has made up for its earlier failures."""

    def delay(self, failures: int) -> float:
        """Before the next start, after that many failures in a row."""
        if failures <= 1:
            return 0.0
        # Two to the power of a thousand is no float.
        return min(self.most, self.first * 2.0 ** min(failures - 2, 32))

    def count(self, failures: int, served: float) -> int:
        """The number of failures in a row, including one after `served` seconds of service."""
        return 1 if served >= self.stable else failures + 1
