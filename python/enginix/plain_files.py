"""Reads the small files of an untrusted checkpoint: only regular ones, up to a size limit.

Opening a FIFO could block for ever, and reading a device could fill the memory.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

from enginix.errors import CheckpointDamaged, NotACheckpoint

# The largest tokenizer.json in use has 40 MB, the index of the largest model 20 MB.
MAX_BYTES = 256 << 20


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file; OSError for anything else, without blocking."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return file


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    with open_regular(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit >> 20} MB", str(path))
    return data


def read_text(path: Path, limit: int = MAX_BYTES) -> str:
    """The text of a regular file; OSError or UnicodeDecodeError for anything else."""
    return read_bytes(path, limit).decode("utf-8")


def require_own(directory: Path, name: str) -> Path:
    """A checkpoint file's resolved path; CheckpointDamaged for a link out of the checkpoint."""
    path = directory / name
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(_root(directory)):
        raise CheckpointDamaged(
            f"{path} is a link to {real}, outside the checkpoint; replace the link with the file "
            "itself"
        )
    return real


def read_own(directory: Path, name: str, limit: int = MAX_BYTES) -> bytes:
    """The bytes of a file that an engine copies; never through a link out of the checkpoint."""
    path = directory / name
    real = require_own(directory, name)
    try:
        return read_bytes(real, limit)
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
