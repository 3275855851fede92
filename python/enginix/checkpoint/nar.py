"""The hash Nix gives a directory: SHA-256 of its NAR, the archive format without time or owner."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from enginix.errors import CheckpointError

BLOCK = 1 << 20


def nar_hash(path: Path) -> str:
    """'sha256-...', as `nix hash path` prints it and `outputHash` takes it."""
    digest = hashlib.sha256()
    try:
        for part in _archive(path):
            digest.update(part)
    except OSError as error:
        raise CheckpointError(
            f"{error.filename or path} cannot be read: {error.strerror or error}"
        ) from error
    return "sha256-" + base64.b64encode(digest.digest()).decode()


def _archive(path: Path) -> Iterator[bytes]:
    yield _string(b"nix-archive-1")
    yield from _node(path)


def _node(path: Path) -> Iterator[bytes]:
    yield _string(b"(") + _string(b"type")
    if path.is_symlink():
        yield _string(b"symlink") + _string(b"target") + _string(os.fsencode(os.readlink(path)))
    elif path.is_dir():
        yield _string(b"directory")
        for name in sorted(os.fsencode(entry) for entry in os.listdir(path)):
            yield _string(b"entry") + _string(b"(") + _string(b"name") + _string(name)
            yield _string(b"node")
            yield from _node(path / os.fsdecode(name))
            yield _string(b")")
    elif path.is_file():
        yield from _file(path)
    else:
        raise CheckpointError(f"{path} is no file, directory or link; Nix cannot hold it")
    yield _string(b")")


def _file(path: Path) -> Iterator[bytes]:
    yield _string(b"regular")
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if status.st_mode & 0o100:
            yield _string(b"executable") + _string(b"")
        yield _string(b"contents") + status.st_size.to_bytes(8, "little")
        left = status.st_size
        while left and (block := file.read(min(BLOCK, left))):
            left -= len(block)
            yield block
        if left:
            raise CheckpointError(f"{path} became shorter while it was read")
    yield bytes(-status.st_size % 8)


def _string(content: bytes) -> bytes:
    return len(content).to_bytes(8, "little") + content + bytes(-len(content) % 8)
