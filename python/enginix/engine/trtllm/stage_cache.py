"""A build's work directory: records finished stages, so that a failed build resumes there."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from enginix.checkpoint.load import hash_all
from enginix.checkpoint.stamps import Stamps
from enginix.errors import BuildError
from enginix.records import write_json


class StageCache:
    """The work directory of a build: finished stages with their inputs and files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def finished(self, stage: str, key: str) -> dict[str, Any] | None:
        """The result given to `finish`, if the inputs are the same and the files intact."""
        note = _read(self._note(stage))
        if note.get("key") != key:
            return None
        directory = self.directory / stage
        if any(_size(directory / name) != size for name, size in note["files"].items()):
            return None
        result: dict[str, Any] = note["facts"]
        return result

    def size(self) -> int:
        """Bytes of all files, also those of a stage that did not finish."""
        files = (path.stat() for path in self.directory.rglob("*") if path.is_file())
        return sum(status.st_size for status in files)

    def begin(self, stage: str) -> Path:
        """An empty directory for the stage's files."""
        self._note(stage).unlink(missing_ok=True)
        directory = self.directory / stage
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        return directory

    def finish(self, stage: str, key: str, result: Mapping[str, Any]) -> None:
        directory = self.directory / stage
        files = {path.name: path.stat().st_size for path in sorted(directory.iterdir())}
        write_json(self._note(stage), {"key": key, "files": files, "facts": dict(result)})

    def source_hashes(self, checkpoint: Path, stamps: Stamps) -> dict[str, str]:
        """sha256 of every source file; computed again only if a file has changed."""
        path = self.directory / "sources.json"
        note = _read(path)
        if note.get("stamps") == stamps:
            known: dict[str, str] = note["hashes"]
            return known
        hashes = hash_all(checkpoint, stamps)
        write_json(path, {"stamps": stamps, "hashes": hashes})
        return hashes

    def _note(self, stage: str) -> Path:
        return self.directory / f"{stage}.json"


@contextmanager
def open_stage_cache(directory: Path) -> Iterator[StageCache]:
    """Create the directory if needed, and lock it against other builds."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "logs").mkdir(exist_ok=True)
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise BuildError(
            f"{directory} cannot be used: {error.strerror}; name another with --work-dir"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield StageCache(directory)
        finally:
            _remove_empty(directory)
    except BlockingIOError:
        raise BuildError(
            f"another build works in {directory}; wait for it, or name another with --work-dir"
        ) from None
    finally:
        os.close(descriptor)


def discard(directory: Path) -> None:
    """Remove the work directory of a complete engine, but only files that a build makes."""
    if (directory / "lock").exists():
        shutil.rmtree(directory, ignore_errors=True)


def _remove_empty(directory: Path) -> None:
    """Remove the work directory of a build that was refused before it started."""
    if not any((directory / "logs").iterdir()):
        discard(directory)


def fingerprint(inputs: Mapping[str, Any]) -> str:
    """A hash of the inputs; a stage whose inputs changed is repeated."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # Absent, or half written in a crash: the stage is not finished.
        return {}
    return data if isinstance(data, dict) else {}
