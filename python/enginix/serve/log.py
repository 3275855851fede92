"""A server's log file, which the server writes and this module rotates."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path
from typing import IO

LARGEST = 16 << 20
KEPT = 3
FRAME = re.compile(r"\+[-+]+\+")


class RotatingLog:
    """The server's descriptor appends, so after truncation it continues at the start."""

    def __init__(self, path: Path, *, largest: int = LARGEST, kept: int = KEPT) -> None:
        self.path = path
        self._largest = largest
        self._kept = kept
        self._began = 0

    def open(self) -> IO[bytes]:
        """Open it for a server that starts now; `last_lines` then has only that server's lines."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.rotate()
        log = self.path.open("ab")
        self._began = log.tell()
        return log

    def rotate(self) -> None:
        """If it is too large, move its content to PATH.1, and PATH.1 to PATH.2."""
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_size < self._largest:
                return
            for number in range(self._kept - 1, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    self._old(number).rename(self._old(number + 1))
            # Copy, do not rename: the server would keep writing into the renamed file.
            shutil.copyfile(self.path, self._old(1))
            os.truncate(self.path, 0)
            self._began = 0

    def last_lines(self, count: int, *, before_start: bool = False) -> list[str]:
        """The last lines since the server's start; with `before_start`, earlier ones too."""
        try:
            with self.path.open("rb") as log:
                end = log.seek(0, os.SEEK_END)
                log.seek(max(0 if before_start else self._began, end - (64 << 10)))
                text = log.read().decode(errors="replace")
        except OSError:
            return []
        lines = (_without_frame(line) for line in text.strip().splitlines())
        return [line for line in lines if line is not None][-count:]

    def _old(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


def _without_frame(line: str) -> str | None:
    """A line of Triton's tables, which are 200 columns wide, as its cells; None for a border."""
    if FRAME.fullmatch(line):
        return None
    if line.startswith("|") and line.endswith("|"):
        return "  ".join(cell for cell in map(str.strip, line.split("|")) if cell) or None
    return line
