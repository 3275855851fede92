"""The output of a build: complete or absent.

A build works in `.NAME.building` beside its output and renames it at the end. `.NAME.lock` is held
while it lives, so what a killed build left behind is known to be stale, and removed by the next.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from enginix import manifest
from enginix.errors import BuildError, OutputExists
from enginix.plain_files import read_text

# A process that a killed build was about to start holds its lock until it is a program of its own.
LOCK_SECONDS = 2.0
POLL_SECONDS = 0.02

AT_FDCWD = -100
RENAME_EXCHANGE = 2

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def new_output(out: Path, *, replace: bool) -> Iterator[Path]:
    """A directory to build in, renamed to `out` if the block succeeds, removed otherwise."""
    out = Path(os.path.realpath(out))
    require_free(out, replace=replace)
    created = _make_parents(out.parent)
    try:
        with _building(out) as building:
            # Another build may have ended while this one waited for its lock.
            require_free(out, replace=replace)
            yield building
            _sync(building)
            _take_place(building, out, replace=replace)
            _sync(out.parent)
    except BaseException:
        for parent in created:
            with suppress(OSError):
                parent.rmdir()
        raise


def require_free(out: Path, *, replace: bool) -> None:
    """Raise OutputExists unless `out` is absent, empty, or an engine that may be replaced."""
    if not os.path.lexists(out) or (out.is_dir() and not any(out.iterdir())):
        return
    if not replace:
        raise OutputExists(out)
    if strange := _not_an_engine(out):
        raise BuildError(
            f"{out} is not replaced: {strange}; --replace only removes engines, "
            "move it away or name another --out"
        )


def require_space(directory: Path, needed: int) -> None:
    """Raise BuildError unless the disk of `directory` has `needed` bytes free."""
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise BuildError(
            f"the engine takes {needed / 1e6:,.0f} MB, but the disk of {directory.parent} has "
            f"{free / 1e6:,.0f} MB free; free some space or name an --out elsewhere"
        )


def _not_an_engine(out: Path) -> str | None:
    """Why removing `out` could lose something that a build cannot make again."""
    if not out.is_dir():
        return "it is not a directory"
    try:
        data = json.loads(read_text(out / manifest.FILE_NAME))
        recorded = {manifest.FILE_NAME, *data["files"]} if data["schema_version"] else set()
    except (OSError, ValueError, KeyError, TypeError):
        return f"it holds no {manifest.FILE_NAME} of an engine"
    found = {str(path.relative_to(out)) for path in out.rglob("*") if not path.is_dir()}
    if extra := sorted(found - recorded):
        return f"it holds {extra[0]}, which belongs to no engine"
    return None


@contextmanager
def _building(out: Path) -> Iterator[Path]:
    building = out.with_name(f".{out.name}.building")
    with _locked(out):
        try:
            # No other build holds the lock, so existing files are leftovers of a killed one.
            _remove(building)
            building.mkdir()
            yield building
        finally:
            # Absent after a rename; the old output after an exchange.
            _remove(building)


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    path = out.with_name(f".{out.name}.lock")
    descriptor = _lock(path, out)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _lock(path: Path, out: Path) -> int:
    until = time.monotonic() + LOCK_SECONDS
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            if time.monotonic() < until:
                time.sleep(POLL_SECONDS)
                continue
            raise BuildError(
                f"another build of {out} is running; wait for it or name another --out"
            ) from None
        if _is_same(descriptor, path):
            return descriptor
        # Its owner removed it between our open and our lock.
        os.close(descriptor)


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _remove(directory: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(directory)


def _make_parents(directory: Path) -> list[Path]:
    """Create `directory` with its parents; return the created ones, innermost first."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    return missing


def _take_place(building: Path, out: Path, *, replace: bool) -> None:
    # Hours may have passed, and something else may be there now.
    require_free(out, replace=replace)
    try:
        if out.is_dir() and any(out.iterdir()):
            _exchange(building, out)
        else:
            building.rename(out)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise OutputExists(out) from error
        raise


def _exchange(one: Path, other: Path) -> None:
    """Swap two directories atomically, so that a complete engine exists at every moment."""
    done = _libc.renameat2(
        AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE
    )
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(other))


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
