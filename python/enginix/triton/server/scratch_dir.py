"""A server's own temporary directory and shared memory, removed at its end or by the next."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from enginix.owned import own_empty, owned

SHARED_MEMORY = Path("/dev/shm")

# Where Triton's Python backend creates a directory for packed environments, which we do not use.
# It ignores TMPDIR and never removes the directory.
PYTHON_BACKEND = Path("/tmp")

# A path that means itself to a shell.
PLAIN = re.compile(r"[\w./+,:@%=-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class ScratchDir:
    directory: Path
    shm_prefix: str
    """The prefix of all of this server's shared-memory names."""

    def plain_name(self, engine: Path) -> Path:
        """The engine, under a name that Triton's Python models can open.

        Their Python takes the names of files for ASCII, whatever the locale.
        """
        if str(engine.absolute()).isascii():
            return engine
        link = self.directory / "engine"
        link.symlink_to(engine.absolute())
        return link

    def own_new(self, before: frozenset[Path], place: Path = PYTHON_BACKEND) -> None:
        """Claim, to remove it with ours, what the Python backend has created since `before`.

        Nothing marks its owner. A server creates one directory, so a single new one that no other
        server has claimed is ours; we take none of several. Call it until the server is ready:
        what is claimed is removed even if this process is killed.
        """
        temporary = self.directory.parent
        if any(temporary.glob(f"{self.shm_prefix}python_env_*")):
            return
        claimed = {link.readlink() for link in temporary.glob("enginix-triton-*-python_env_*")}
        new = backend_directories(place) - before - claimed
        if len(new) == 1:
            own_empty(temporary, self.shm_prefix, *new)


def backend_directories(place: Path = PYTHON_BACKEND) -> frozenset[Path]:
    return frozenset(place.glob("python_env_*"))


def usable_temporary(chosen: str) -> Path:
    """The user's directory for temporary files, unless Triton could start no model from there.

    The Python backend starts its stub by a shell command in which the path is not quoted, and its
    Python takes the names of files for ASCII.
    """
    return Path(chosen) if PLAIN.fullmatch(chosen) else PYTHON_BACKEND


@contextmanager
def new_scratch_dir(
    temporary: Path | None = None, shared_memory: Path = SHARED_MEMORY
) -> Iterator[ScratchDir]:
    """A directory and a shared-memory prefix for one server, both removed afterwards."""
    temporary = temporary or usable_temporary(tempfile.gettempdir())
    with owned("triton", [temporary, shared_memory]) as name:
        directory = temporary / f"{name}files"
        directory.mkdir(mode=0o700)
        yield ScratchDir(directory, name)
