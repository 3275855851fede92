"""Reads how long to wait from a hub's 429, and shares one wait among all connections.

The hub counts its limits (`api`, `resolvers`, `pages`) per user or address, not per connection, and
states them in `RateLimit: "resolvers";r=0;t=20` (draft-ietf-httpapi-ratelimit-headers-09): `r`
requests are left, the window ends in `t` seconds. It rarely sends Retry-After.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# The longest wait accepted from a server; the hub's windows last 300 s.
MAX_WAIT = 300.0
# For a limit without a stated end. Ten of these outlast one of the hub's windows.
DEFAULT_WAIT = 30.0

_ITEM = re.compile(r'"?(?P<name>[^",;]+)"?(?P<parameters>(?:\s*;\s*\w+\s*=\s*[^,;]+)+)')
_PARAMETER = re.compile(r";\s*(\w+)\s*=\s*(\d+)")


@dataclass(frozen=True, slots=True)
class Limited:
    """Which limits are used up, as the hub names them, and how many seconds to wait."""

    names: tuple[str, ...]
    pause: float

    def __str__(self) -> str:
        which = f" for {' and '.join(self.names)}" if self.names else ""
        return f"the hub's rate limit{which} is used up (429)"


def read_limit(headers: Mapping[str, str]) -> Limited:
    """The limit in the headers of a 429; waits until all used-up windows have ended."""
    ends = {
        name: parameters["t"]
        for name, parameters in _items(headers.get("RateLimit", ""))
        if parameters.get("r") == 0 and "t" in parameters
    }
    # A second more than stated, because the hub rounds down.
    waits = [min(float(seconds), MAX_WAIT) + 1 for seconds in ends.values()]
    if (after := retry_after(headers)) is not None:
        waits.append(after)
    return Limited(tuple(ends), max(waits, default=DEFAULT_WAIT))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Retry-After in seconds, whether it is written as seconds or as a date."""
    stated = headers.get("Retry-After", "").strip()
    if stated.isdecimal():
        return min(float(stated), MAX_WAIT)
    try:
        when = parsedate_to_datetime(stated)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return min(max((when - datetime.now(UTC)).total_seconds(), 0.0), MAX_WAIT)


def _items(header: str) -> list[tuple[str, dict[str, int]]]:
    return [
        (
            found["name"].strip(),
            {key: int(value) for key, value in _PARAMETER.findall(found["parameters"])},
        )
        for found in _ITEM.finditer(header)
    ]


class SharedWait:
    """The first task that hits a limit waits for all; the others start no request meanwhile."""

    def __init__(self, pause: Callable[[float], Awaitable[None]]) -> None:
        self._pause = pause
        self._over: asyncio.Event | None = None

    @property
    def is_on(self) -> bool:
        return self._over is not None

    async def wait(self, seconds: float) -> None:
        if self._over is not None:
            await self._over.wait()
            return
        self._over = asyncio.Event()
        try:
            await self._pause(seconds)
        finally:
            self._over.set()
            self._over = None

    async def passed(self) -> None:
        while self._over is not None:
            await self._over.wait()
