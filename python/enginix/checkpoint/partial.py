"""A partial download in chunks that survives kill -9.

A journal beside the data records which file the bytes belong to and how far each chunk has come.
Data is written before the journal, so the journal never counts a missing byte.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self

COUNT_BYTES = 8


class PartialFile:
    """`path` gets the bytes of a file of `size`; `identity` names exactly that version of it."""

    def __init__(self, path: Path, size: int, identity: str, chunk_size: int) -> None:
        self.path = path
        self.size = size
        self.chunk_size = chunk_size
        self._journal_path = path.with_name(path.name + ".journal")
        self._owner = hashlib.sha256(f"{identity} {size} {chunk_size}".encode()).digest()
        self._counts = [0] * max(1, -(-size // chunk_size))
        self._data = self._journal = -1

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        counts = self._read_journal()
        self._data = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._journal = os.open(self._journal_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if counts is None:
            self.forget()
        else:
            self._counts = counts
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._data)
        os.close(self._journal)

    @property
    def received(self) -> int:
        return sum(self._counts)

    @property
    def chunks(self) -> range:
        return range(len(self._counts))

    def missing(self, chunk: int) -> tuple[int, int]:
        """(start, stop) in the file of the chunk's missing bytes; empty if it is complete."""
        start = chunk * self.chunk_size
        return start + self._counts[chunk], min(start + self.chunk_size, self.size)

    def accept(self, position: int, data: bytes) -> int:
        """Write the bytes that continue a chunk; return how many were new."""
        new = 0
        last = min((position + len(data) - 1) // self.chunk_size, len(self._counts) - 1)
        for chunk in range(position // self.chunk_size, last + 1):
            start, stop = self.missing(chunk)
            part = data[max(start - position, 0) : max(stop - position, 0)]
            if start < position or not part:
                continue
            os.pwrite(self._data, part, start)
            self._counts[chunk] += len(part)
            count = self._counts[chunk].to_bytes(COUNT_BYTES, "little")
            os.pwrite(self._journal, count, len(self._owner) + chunk * COUNT_BYTES)
            new += len(part)
        return new

    def forget(self) -> None:
        """Discard all bytes and start over."""
        self._counts = [0] * len(self._counts)
        os.ftruncate(self._journal, 0)
        os.ftruncate(self._data, 0)
        os.ftruncate(self._data, self.size)
        os.pwrite(self._journal, self._owner + bytes(COUNT_BYTES * len(self._counts)), 0)

    def move_to(self, target: Path) -> None:
        """Give the complete, verified file its name."""
        target.parent.mkdir(parents=True, exist_ok=True)
        os.fsync(self._data)
        self.path.replace(target)
        self._journal_path.unlink()

    def _read_journal(self) -> list[int] | None:
        """The chunks' counts, or None if the journal is invalid or belongs to another file."""
        try:
            journal = self._journal_path.read_bytes()
            complete = self.path.stat().st_size == self.size
        except FileNotFoundError:
            return None
        owner, rest = journal[: len(self._owner)], journal[len(self._owner) :]
        if not complete or owner != self._owner or len(rest) != COUNT_BYTES * len(self._counts):
            return None
        counts = [
            int.from_bytes(rest[at : at + COUNT_BYTES], "little")
            for at in range(0, len(rest), COUNT_BYTES)
        ]
        fits = all(
            count <= min(self.chunk_size, self.size - chunk * self.chunk_size)
            for chunk, count in enumerate(counts)
        )
        return counts if fits else None
