"""Files that belong to one running process: the holder of the lock owns them.

In a shared directory such as /tmp or /dev/shm, an owner has a unique name. Every file there whose
name starts with it is the owner's; it holds NAMElock by flock while it lives. A killed owner cannot
clean up, but the kernel releases its lock, and the next owner removes the files. Process ids would
not work: another PID namespace that shares the directory has its own.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

LOOK_SECONDS = 1.0
LOCK = re.compile(r"(enginix-[a-z]+-[0-9a-f]{12}-)lock")


@contextmanager
def owned(kind: str, places: Sequence[Path]) -> Iterator[str]:
    """A name for files in `places`, removed when the block ends; first removes abandoned files.

    Child processes may use the files too, if they do not outlive this process.
    """
    places = sorted({place.resolve() for place in places})
    for place in places:
        remove_abandoned(place)
    with ExitStack() as stack:
        yield _claimed(kind, places, stack)


def own_empty(place: Path, name: str, directory: Path) -> None:
    """Remove another program's `directory` with the owner `name`, if it is then empty."""
    (place / f"{name}{directory.name}").symlink_to(directory)


def remove_abandoned(place: Path) -> None:
    """Remove the files of this user's owners whose lock is not held."""
    with suppress(OSError):
        for path in list(place.iterdir()):
            if found := LOCK.fullmatch(path.name):
                _remove_if_abandoned(place, found[1])


def hold(path: Path, flags: int = 0) -> int | None:
    """A descriptor that holds the lock `path`; None if another process holds it.

    Raises OSError if it cannot be opened. A lock file that was removed meanwhile does not count.
    """
    while True:
        # O_NONBLOCK: opening a FIFO of that name would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_same(descriptor, path):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def hold_soon(path: Path, flags: int = 0) -> int | None:
    """Like `hold`, but waits while another command briefly holds the lock to check it."""
    until = time.monotonic() + LOOK_SECONDS
    while (descriptor := hold(path, flags)) is None and time.monotonic() < until:
        time.sleep(LOOK_SECONDS / 20)
    return descriptor


def _claimed(kind: str, places: Sequence[Path], stack: ExitStack) -> str:
    while True:
        name = f"enginix-{kind}-{secrets.token_hex(6)}-"
        with ExitStack() as attempt:
            for place in places:
                # Between creation and lock, another process may consider it abandoned.
                descriptor = hold(place / f"{name}lock", os.O_CREAT | os.O_EXCL)
                if descriptor is None:
                    break
                attempt.callback(_release, place, name, descriptor)
            else:
                stack.push(attempt.pop_all())
                return name


def _remove_if_abandoned(place: Path, name: str) -> None:
    # Leave other users' locks alone; one that cannot be locked may be held.
    with suppress(OSError):
        descriptor = hold(place / f"{name}lock")
        if descriptor is None:
            return
        status = os.fstat(descriptor)
        if status.st_uid == os.geteuid() and stat.S_ISREG(status.st_mode):
            _release(place, name, descriptor)
        else:
            os.close(descriptor)


def _release(place: Path, name: str, descriptor: int) -> None:
    """Remove the owner's files. The lock last: it marks what is left as abandoned."""
    lock = place / f"{name}lock"
    for path in place.glob(f"{name}*"):
        if path != lock:
            _remove(path)
    with suppress(OSError):
        lock.unlink()
    os.close(descriptor)


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_symlink():
            with suppress(OSError):
                os.rmdir(os.readlink(path))
            path.unlink()
        elif path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False
