"""A file that is still arriving, in pieces, and knows after kill -9 which bytes it has.

Beside the data lies a journal: whose bytes these are, and how far each piece has come. Data is
written before the journal, so the journal never promises a byte that is not there.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self

COUNT_BYTES = 8


class PartialFile:
    """`path` gets the bytes of a file of `size`; `identity` names exactly that file."""

    def __init__(self, path: Path, size: int, identity: str, piece_size: int) -> None:
        self.path = path
        self.size = size
        self.piece_size = piece_size
        self._journal_path = path.with_name(path.name + ".journal")
        self._owner = hashlib.sha256(f"{identity} {size} {piece_size}".encode()).digest()
        self._counts = [0] * max(1, -(-size // piece_size))
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
    def pieces(self) -> range:
        return range(len(self._counts))

    def missing(self, piece: int) -> tuple[int, int]:
        """(start, stop) in the file of what the piece still lacks; empty when it is complete."""
        start = piece * self.piece_size
        return start + self._counts[piece], min(start + self.piece_size, self.size)

    def accept(self, position: int, data: bytes) -> int:
        """Keep what continues a piece, return how many bytes were new."""
        new = 0
        last = min((position + len(data) - 1) // self.piece_size, len(self._counts) - 1)
        for piece in range(position // self.piece_size, last + 1):
            start, stop = self.missing(piece)
            part = data[max(start - position, 0) : max(stop - position, 0)]
            if start < position or not part:
                continue
            os.pwrite(self._data, part, start)
            self._counts[piece] += len(part)
            count = self._counts[piece].to_bytes(COUNT_BYTES, "little")
            os.pwrite(self._journal, count, len(self._owner) + piece * COUNT_BYTES)
            new += len(part)
        return new

    def forget(self) -> None:
        """Begin again from nothing."""
        self._counts = [0] * len(self._counts)
        os.ftruncate(self._journal, 0)
        os.ftruncate(self._data, 0)
        os.ftruncate(self._data, self.size)
        os.pwrite(self._journal, self._owner + bytes(COUNT_BYTES * len(self._counts)), 0)

    def move_to(self, target: Path) -> None:
        """The file is complete and right: give it its name."""
        target.parent.mkdir(parents=True, exist_ok=True)
        os.fsync(self._data)
        self.path.replace(target)
        self._journal_path.unlink()

    def _read_journal(self) -> list[int] | None:
        """The pieces' counts, or None when the journal is not this file's or makes no sense."""
        try:
            journal = self._journal_path.read_bytes()
            whole = self.path.stat().st_size == self.size
        except FileNotFoundError:
            return None
        owner, rest = journal[: len(self._owner)], journal[len(self._owner) :]
        if not whole or owner != self._owner or len(rest) != COUNT_BYTES * len(self._counts):
            return None
        counts = [
            int.from_bytes(rest[at : at + COUNT_BYTES], "little")
            for at in range(0, len(rest), COUNT_BYTES)
        ]
        fits = all(
            count <= min(self.piece_size, self.size - piece * self.piece_size)
            for piece, count in enumerate(counts)
        )
        return counts if fits else None
