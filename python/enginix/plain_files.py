"""Reads the small files of a checkpoint, which anybody may have made: regular ones, not too large.

A FIFO would be waited for without end, a device read until the memory is full.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

from enginix.errors import CheckpointDamaged, NotACheckpoint

# The largest tokenizer.json in use has 40 MB, the index of the largest model 20.
MOST_BYTES = 256 << 20


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file; OSError for anything else, at once."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return file


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    with open_regular(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it has more than {most >> 20} MB", str(path))
    return data


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """The text of a regular file; OSError or UnicodeDecodeError for what is none."""
    return read_bytes(path, most).decode("utf-8")


def require_own(directory: Path, name: str) -> Path:
    """Where a checkpoint's file really is; raises for a link that leads out of the checkpoint."""
    path = directory / name
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(_root(directory)):
        raise CheckpointDamaged(
            f"{path} is a link to {real}, outside the checkpoint; an engine takes nothing from "
            "elsewhere, put the file itself there"
        )
    return real


def read_own(directory: Path, name: str, most: int = MOST_BYTES) -> bytes:
    """A file that goes into an engine as it is: never what a link elsewhere leads to."""
    path = directory / name
    real = require_own(directory, name)
    try:
        return read_bytes(real, most)
    except FileNotFoundError:
        raise NotACheckpoint(f"{path} is missing; finish the download") from None
    except OSError as error:
        raise CheckpointDamaged(
            f"{path} cannot be read: {error.strerror or error}; download the checkpoint again"
        ) from error


def _root(directory: Path) -> Path:
    real = Path(os.path.realpath(directory))
    repository = real.parent.parent
    # In Hugging Face's cache a snapshot is a directory of links to the blobs beside it.
    is_snapshot = real.parent.name == "snapshots" and (repository / "blobs").is_dir()
    return repository if is_snapshot else real
