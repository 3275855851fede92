"""What named keys have used, in one file that all worker processes of a gateway share.

A file lock guards each change, which takes microseconds: there is no process to ask, and none that
can fail. The file stays in the page cache. A row per key has its buckets and, for each worker, how
many of its requests run there. The kernel releases a dead worker's lock, and the process that
started the workers removes its counts.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from struct import Struct

from enginix.errors import UsageError
from enginix.gateway.keys.key import MOST_RUNNING

FILE = "key-limits"
MAX_WORKERS = 128
DIGEST = 32
BUCKETS = Struct("<dd")
COUNTS = "H"
ROW = DIGEST + BUCKETS.size + MAX_WORKERS * array(COUNTS).itemsize
# The first bytes are the workers' process ids, 0 where a place is free.
PIDS = "I"
HEAD = MAX_WORKERS * array(PIDS).itemsize


@dataclass(slots=True)
class Row:
    """One key's use; its place in the file is locked while it can be changed."""

    requests: float
    """When its bucket of requests is full, by the machine's monotonic clock."""
    tokens: float
    running: array[int]
    """By worker."""
    place: int
    """This worker's."""

    @property
    def all_running(self) -> int:
        return sum(self.running)

    def count(self, change: int) -> None:
        """Change how many requests run in this worker."""
        now = self.running[self.place] + change
        self.running[self.place] = min(max(now, 0), MOST_RUNNING)


class Ledger:
    """`directory`: the workers'; None for a gateway of one process."""

    def __init__(self, directory: str | None) -> None:
        if directory is None:
            self._file = _unnamed()
        else:
            self._file = _opened(Path(directory) / FILE)
        self._offsets: dict[bytes, int] = {}
        self._known = HEAD
        """The end of the rows whose offsets are known."""
        with _locked(self._descriptor):
            self._place = self._free_place()

    @property
    def closed(self) -> bool:
        return self._file.closed

    @property
    def _descriptor(self) -> int:
        # Never that of a file which is closed: the number may be another's by now.
        return self._file.fileno()

    @contextmanager
    def row(self, digest: bytes) -> Iterator[Row]:
        """The key's row; changes are written when the block ends."""
        with _locked(self._descriptor):
            offset = self._offset(digest) + DIGEST
            data = os.pread(self._descriptor, ROW - DIGEST, offset)
            requests, tokens = BUCKETS.unpack_from(data)
            row = Row(requests, tokens, array(COUNTS, data[BUCKETS.size :]), self._place)
            yield row
            data = BUCKETS.pack(row.requests, row.tokens) + row.running.tobytes()
            os.pwrite(self._descriptor, data, offset)

    def close(self) -> None:
        """Give this worker's place back, with its counts."""
        with _locked(self._descriptor):
            _clear(self._descriptor, [self._place])
        self._file.close()

    def _free_place(self) -> int:
        pids = _pids(self._descriptor)
        if 0 not in pids:
            raise UsageError(f"named keys work for at most {MAX_WORKERS} processes")
        place = pids.index(0)
        pids[place] = os.getpid()
        os.pwrite(self._descriptor, pids.tobytes(), 0)
        return place

    def _offset(self, digest: bytes) -> int:
        while digest not in self._offsets:
            # Another worker may have added it.
            found = os.pread(self._descriptor, DIGEST, self._known)
            if not found:
                os.pwrite(self._descriptor, digest + bytes(ROW - DIGEST), self._known)
                found = digest
            self._offsets[found] = self._known
            self._known += ROW
        return self._offsets[digest]


def forget_counts(pid: int, directory: str) -> None:
    """Remove a dead worker's counts of running requests."""
    path = Path(directory) / FILE
    if not path.exists():
        return
    with _opened(path) as file, _locked(descriptor := file.fileno()):
        places = [place for place, each in enumerate(_pids(descriptor)) if each == pid]
        _clear(descriptor, places)


def _opened(path: Path) -> FileIO:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    return FileIO(os.open(path, flags, 0o600), "r+")


def _unnamed() -> FileIO:
    descriptor, path = tempfile.mkstemp()
    os.unlink(path)
    return FileIO(descriptor, "r+")


@contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _pids(descriptor: int) -> array[int]:
    return array(PIDS, os.pread(descriptor, HEAD, 0).ljust(HEAD, b"\0"))


def _clear(descriptor: int, places: list[int]) -> None:
    pids = _pids(descriptor)
    size = array(COUNTS).itemsize
    for place in places:
        pids[place] = 0
        counts = HEAD + DIGEST + BUCKETS.size + place * size
        for offset in range(counts, os.fstat(descriptor).st_size, ROW):
            os.pwrite(descriptor, bytes(size), offset)
    os.pwrite(descriptor, pids.tobytes(), 0)
