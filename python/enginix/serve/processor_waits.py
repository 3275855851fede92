"""How long threads were ready to run while no processor was free for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path


class ProcessorWaits:
    """Adds up, from call to call, what that thread has waited which has waited the most.

    Not what all have waited: on a busy machine each of a hundred threads waits a little.
    """

    def __init__(self) -> None:
        self._before: dict[str, int] = {}
        self._nanoseconds = 0

    def seconds(self, pids: Iterable[int]) -> float:
        """So far, of these processes; 0.0 from a kernel that does not count it."""
        now = dict(waited for pid in pids for waited in _threads(pid))
        self._nanoseconds += max(
            (waited - self._before.get(thread, 0) for thread, waited in now.items()), default=0
        )
        self._before = now
        return self._nanoseconds / 1e9


def _threads(pid: int) -> Iterator[tuple[str, int]]:
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError, ValueError):
                _, waited, _ = (thread / "schedstat").read_text().split()
                yield thread.name, int(waited)
