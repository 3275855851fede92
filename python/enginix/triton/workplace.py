"""A server's own temporary directory and shared memory, named after the process that owns them.

A killed server cannot clean up; its name tells the next one that nobody owns what it left.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
OWNED = re.compile(r"enginix-triton-(\d+)-")


@dataclass(frozen=True, slots=True)
class Workplace:
    directory: Path
    shm_prefix: str


@contextmanager
def workplace(shared_memory: Path = SHARED_MEMORY) -> Iterator[Workplace]:
    """A directory and a shared memory prefix of one server's own, both gone afterwards."""
    remove_abandoned(Path(tempfile.gettempdir()), shared_memory)
    prefix = f"enginix-triton-{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as directory:
        try:
            yield Workplace(Path(directory), prefix)
        finally:
            _remove(shared_memory.glob(f"{prefix}*"))


def remove_abandoned(*places: Path) -> None:
    """Remove what servers left whose owner is gone."""
    for place in places:
        with suppress(OSError):
            _remove(path for path in place.iterdir() if _is_abandoned(path.name))


def _is_abandoned(name: str) -> bool:
    owner = OWNED.match(name)
    return owner is not None and not Path(f"/proc/{owner[1]}").exists()


def _remove(paths: Iterator[Path]) -> None:
    for path in list(paths):
        # Another user's leftovers are theirs to remove.
        with suppress(OSError):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
