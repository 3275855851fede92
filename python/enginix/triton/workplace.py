"""A server's own temporary directory and shared memory, gone with it or removed by the next."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from enginix.owned import owned

SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Workplace:
    directory: Path
    shm_prefix: str


@contextmanager
def workplace(
    temporary: Path | None = None, shared_memory: Path = SHARED_MEMORY
) -> Iterator[Workplace]:
    """A directory and a shared memory prefix of one server's own, both gone afterwards."""
    temporary = temporary or Path(tempfile.gettempdir())
    with owned("triton", [temporary, shared_memory]) as name:
        directory = temporary / f"{name}files"
        directory.mkdir(mode=0o700)
        yield Workplace(directory, name)
