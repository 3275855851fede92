"""A server's log: written by the server itself, kept from growing without end."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import IO

LARGEST = 16 << 20
KEPT = 3


class RotatingLog:
    """The server's own descriptor appends, so that a truncated file goes on from its start."""

    def __init__(self, path: Path, *, largest: int = LARGEST, kept: int = KEPT) -> None:
        self.path = path
        self._largest = largest
        self._kept = kept
        self._began = 0

    def open(self) -> IO[bytes]:
        """For a server that starts now; `last_lines` are its own from here on."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.rotate()
        log = self.path.open("ab")
        self._began = log.tell()
        return log

    def rotate(self) -> None:
        """Move what is there to PATH.1 and the older ones up, when it has become too large."""
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_size < self._largest:
                return
            for number in range(self._kept - 1, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    self._old(number).rename(self._old(number + 1))
            # Copied, not renamed: the server would go on writing into the renamed file.
            shutil.copyfile(self.path, self._old(1))
            os.truncate(self.path, 0)
            self._began = 0

    def last_lines(self, count: int) -> list[str]:
        """What the server said last, since it was started."""
        try:
            with self.path.open("rb") as log:
                end = log.seek(0, os.SEEK_END)
                log.seek(max(self._began, end - (64 << 10)))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return []
        return text.strip().splitlines()[-count:]

    def _old(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")
