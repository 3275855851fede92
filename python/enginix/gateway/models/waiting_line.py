"""The order in which requests wait for a model: by priority, fair between keys, and never for ever.

The lowest priority is served first; among keys of one priority, that with the fewest requests
running, then that which was served longest ago; within a key, the request that came first. The
oldest request of all may be passed over, but once it has waited AGED_SECONDS, only MAY_PASS times.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import Generic, TypeVar

AGED_SECONDS = 10.0
MAY_PASS = 7

Item = TypeVar("Item")


@dataclass(slots=True, eq=False)
class Place(Generic[Item]):
    """One request's place in the line."""

    item: Item
    priority: int
    key: str | None
    since: float
    number: int
    """In the order of arrival."""
    waits: bool = True
    """Whether it is in the line."""


class WaitingLine(Generic[Item]):
    def __init__(self) -> None:
        # One line, where nobody has a key or a priority.
        self._lines: dict[tuple[int, str | None], deque[Place[Item]]] = {}
        self._arrived = 0
        self._served = 0
        self._last_served: dict[str | None, int] = {}
        self._passed = 0
        """How many were served since the oldest was, or became the oldest."""
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, item: Item, priority: int, key: str | None, now: float) -> Place[Item]:
        self._arrived += 1
        place = Place(item, priority, key, now, self._arrived)
        self._lines.setdefault((priority, key), deque()).append(place)
        self._length += 1
        return place

    def remove(self, place: Place[Item]) -> None:
        """Of a request that waits no longer."""
        line = self._lines[place.priority, place.key]
        line.remove(place)
        place.waits = False
        self._length -= 1
        if not line:
            del self._lines[place.priority, place.key]

    def pop(self, now: float, running: Counter[str | None]) -> Place[Item]:
        """The next request's place, taken out of the line, which is not empty.

        `running`: how many requests of each key run.
        """
        heads = [line[0] for line in self._lines.values()]
        oldest = min(heads, key=lambda place: place.number)
        is_aged = now - oldest.since >= AGED_SECONDS
        if is_aged and self._passed >= MAY_PASS:
            place = oldest
        else:
            place = min(
                heads,
                key=lambda place: (
                    place.priority,
                    running[place.key],
                    self._last_served.get(place.key, 0),
                    place.number,
                ),
            )
        self._passed = self._passed + 1 if is_aged and place is not oldest else 0
        self._served += 1
        self._last_served[place.key] = self._served
        self.remove(place)
        return place

    def ahead(self, place: Place[Item]) -> int:
        """About how many are served before it: keys of one priority take turns."""
        count = 0
        own = self._lines[place.priority, place.key].index(place)
        for (priority, key), line in self._lines.items():
            if priority < place.priority:
                count += len(line)
            elif priority == place.priority:
                count += own if key == place.key else min(len(line), own + 1)
        return count
