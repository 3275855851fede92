"""Nix's hash of a directory: SHA-256 of its NAR, the archive format without times or owners."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Collection, Iterator
from itertools import takewhile
from pathlib import Path

from enginix.errors import CheckpointError

BLOCK = 1 << 20


def nar_hash(path: Path, without: Collection[str] = ()) -> str:
    """'sha256-...', as `nix hash path` prints it and `outputHash` expects it.

    `without` are names directly in the directory to ignore.
    """
    nar = _Digest()
    nar.update_all(path, _node(path, without))
    return nar.text()


class NarHash:
    """The same hash for a directory whose plain files are added one by one and need not stay.

    They are added in the order of `nar_order`.
    """

    def __init__(self) -> None:
        self._nar = _Digest()
        self._nar.update(_directory())
        self._open: list[bytes] = []
        self._last: list[bytes] = []

    def add(self, name: str, path: Path) -> None:
        """`path` holds the bytes of the file `name`, a relative path with slashes."""
        parts = nar_order(name)
        if parts <= self._last:
            raise ValueError(f"{name} comes after {self._last}")
        *folders, last = self._last = parts
        pairs = zip(self._open, folders, strict=False)
        shared = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
        self._close(len(self._open) - shared)
        for folder in folders[shared:]:
            self._nar.update(_entry(folder) + _directory())
        self._open = folders
        self._nar.update(_entry(last))
        self._nar.update_all(path, _node(path))
        self._nar.update(_string(b")"))

    def text(self) -> str:
        self._close(len(self._open))
        self._open = []
        self._nar.update(_string(b")"))
        return self._nar.text()

    def _close(self, folders: int) -> None:
        # Each folder is a node within an entry.
        self._nar.update(_string(b")") * 2 * folders)


def nar_order(name: str) -> list[bytes]:
    """The sort key of file names in a NAR."""
    return os.fsencode(name).split(b"/")


class _Digest:
    def __init__(self) -> None:
        self._digest = hashlib.sha256(_string(b"nix-archive-1"))
        self.update = self._digest.update

    def update_all(self, path: Path, parts: Iterator[bytes]) -> None:
        try:
            for part in parts:
                self.update(part)
        except OSError as error:
            raise CheckpointError(
                f"{error.filename or path} cannot be read: {error.strerror or error}"
            ) from error

    def text(self) -> str:
        return "sha256-" + base64.b64encode(self._digest.digest()).decode()


def _directory() -> bytes:
    return _string(b"(") + _string(b"type") + _string(b"directory")


def _entry(name: bytes) -> bytes:
    return _string(b"entry") + _string(b"(") + _string(b"name") + _string(name) + _string(b"node")


def _node(path: Path, without: Collection[str] = ()) -> Iterator[bytes]:
    if path.is_dir() and not path.is_symlink():
        yield _directory()
        for name in sorted(
            os.fsencode(entry) for entry in os.listdir(path) if entry not in without
        ):
            yield _entry(name)
            yield from _node(path / os.fsdecode(name))
            yield _string(b")")
        yield _string(b")")
        return
    yield _string(b"(") + _string(b"type")
    if path.is_symlink():
        yield _string(b"symlink") + _string(b"target") + _string(os.fsencode(os.readlink(path)))
    elif path.is_file():
        yield from _file(path)
    else:
        raise CheckpointError(f"{path} is not a file, directory or link; Nix cannot store it")
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
