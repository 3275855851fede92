"""Reads how much GPU memory each process uses."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

from enginix.errors import ProcessError
from enginix.process import find_program, run

logger = logging.getLogger(__name__)

QUERY = ["--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
# nvidia-smi takes up to a second, or more if the driver is not kept loaded.
FRESH_SECONDS = 5.0


class GpuMemory:
    """The GPU memory of each process, read in a thread on request."""

    def __init__(self) -> None:
        self._smi = find_program("nvidia-smi")
        self._bytes: dict[int, int] = {}
        self._read_at = -FRESH_SECONDS
        self._reading: asyncio.Task[None] | None = None

    def of(self, pids: Iterable[int]) -> int | None:
        """Bytes at the last reading; None if it has none of these processes."""
        if self._smi and not self._reading and time.monotonic() - self._read_at > FRESH_SECONDS:
            self._reading = asyncio.create_task(self._read())
        found = [self._bytes[pid] for pid in pids if pid in self._bytes]
        return sum(found) if found else None

    async def _read(self) -> None:
        try:
            text = await asyncio.to_thread(run, [str(self._smi), *QUERY], timeout=20)
            self._bytes = bytes_by_process(text)
        except ProcessError as error:
            logger.warning("the GPUs' memory is unknown: %s", error)
            self._smi = None
        finally:
            self._read_at, self._reading = time.monotonic(), None


def bytes_by_process(text: str) -> dict[int, int]:
    """Process id -> bytes on all GPUs, from nvidia-smi's lines of `pid, MiB`."""
    used: dict[int, int] = {}
    for line in text.splitlines():
        pid, _, mebibytes = line.partition(", ")
        # "[N/A]" if the driver does not report it.
        if pid.isdigit() and mebibytes.strip().isdigit():
            used[int(pid)] = used.get(int(pid), 0) + (int(mebibytes) << 20)
    return used
