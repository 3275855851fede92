"""The directory that files are downloaded into: locking, checks, and disk space."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from enginix.checkpoint.partial import PartialFile
from enginix.checkpoint.transfer import RemoteFile
from enginix.errors import DownloadError

INCOMPLETE = ".incomplete"


def work_directory(directory: Path) -> Path:
    """Where files are written: into an existing directory, else into one beside the new name."""
    return directory if directory.exists() else directory.with_name(directory.name + ".partial")


def check_file(path: Path, remote: RemoteFile) -> str | None:
    """What is wrong with a fetched file, or None; reads all of it."""
    size = path.stat().st_size
    if size != remote.size:
        return f"it has {size} bytes, expected {remote.size}"
    with path.open("rb") as file:
        if remote.sha256 is not None:
            kind, expected = "sha256", remote.sha256
            found = hashlib.file_digest(file, "sha256").hexdigest()
        elif remote.git_oid is not None:
            # A git object id: the SHA-1 of a small header and the content.
            kind, expected = "git hash", remote.git_oid
            digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
            digest.update(file.read())
            found = digest.hexdigest()
        else:
            return None
    return None if found == expected else f"its {kind} is {found}, expected {expected}"


@contextmanager
def writing(work: Path) -> Iterator[None]:
    """Turn write errors into DownloadError, and remove a directory that stayed empty."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        yield
    except BrokenPipeError:
        # The reader of the progress lines has gone.
        raise
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DownloadError(
                f"the disk of {work} is full; make room and run the same command again, it goes "
                "on where it stopped"
            ) from error
        raise DownloadError(
            f"cannot write {error.filename or work}: {error.strerror or error}; "
            "name another directory with --out"
        ) from error


@contextmanager
def locked(incomplete: Path) -> Iterator[None]:
    """Lock the directory: two downloads into one would overwrite each other's files."""
    incomplete.mkdir(exist_ok=True)
    with (incomplete / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DownloadError(
                f"another enginix is fetching into {incomplete.parent}; wait for it, or stop it"
            ) from None
        yield


@contextmanager
def partials(
    work: Path, files: Sequence[RemoteFile], chunk_size: int
) -> Iterator[list[PartialFile]]:
    """The files' open partial downloads; removed if not one byte was received."""
    partials: list[PartialFile] = []
    with ExitStack() as stack:
        for file in files:
            identity = file.sha256 or file.git_oid or file.url
            path = work / INCOMPLETE / file.name
            partials.append(stack.enter_context(PartialFile(path, file.size, identity, chunk_size)))
        try:
            yield partials
        except DownloadError:
            if not any(partial.received for partial in partials):
                shutil.rmtree(work / INCOMPLETE)
                if not any(work.iterdir()):
                    work.rmdir()
            raise


def require_space(work: Path, missing: int, free: int) -> None:
    if missing > free:
        raise DownloadError(
            f"{missing / 1e9:.1f} GB are still to come and {work} has {free / 1e9:.1f} GB free; "
            f"make {(missing - free) / 1e9:.1f} GB of room, or name another directory with --out"
        )


def remove_others(work: Path, files: Sequence[RemoteFile]) -> None:
    """Remove files that an earlier attempt at another revision has left."""
    names = {file.name for file in files}
    for path in sorted(work.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif str(path.relative_to(work)) not in names:
            path.unlink()
