"""Starts, watches and ends child processes; no other module imports subprocess.

A child gets its own session, so its whole group can be signalled, and the kernel kills it when
its parent dies (PR_SET_PDEATHSIG): killing an enginix command leaves nothing running.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import IO

from enginix.errors import ProcessError

logger = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)

Output = int | IO[bytes] | None
Detached = subprocess.Popen[bytes]


def adopt_orphans() -> None:
    """Make this process the parent of orphaned descendants, so that `end_adopted` finds them."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


async def end_adopted() -> None:
    """SIGKILL all descendants of this process, for a command whose children should have ended."""
    await asyncio.gather(*(kill(pid) for pid in descendants(os.getpid())))
    _reap()


def _reap() -> None:
    """Until reaped, ended children keep their process ids."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _before_exec(parent: int, orphaned: signal.Signals, held: Sequence[signal.Signals]) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, held)
    _libc.prctl(PR_SET_PDEATHSIG, orphaned, 0, 0, 0)
    if os.getppid() != parent:
        # The parent died before prctl, so the kernel sends no signal.
        os._exit(1)


async def start(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: Output = subprocess.DEVNULL,
    stdout: Output = None,
    stderr: Output = None,
    orphaned: signal.Signals = signal.SIGKILL,
    held: Sequence[signal.Signals] = (),
    limit: int = 1 << 16,
) -> asyncio.subprocess.Process:
    """Start `argv` in its own session; prefer `started`, which also ends it.

    `orphaned` is the signal sent when this process dies. SIGKILL, because a server that is asked
    to end drains its requests, holds its ports, and may be frozen; use a softer signal only for
    programs that must end their own processes, which nothing else would find. Signals in `held`
    wait until the program unblocks them. A line of its output may have `limit` bytes.
    """
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            env=env,
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            limit=limit,
            preexec_fn=partial(_before_exec, os.getpid(), orphaned, held),
        )
    except PermissionError as error:
        raise ProcessError(f"cannot start {argv[0]!r}: it is not executable") from error
    except OSError as error:
        # Also without memory, processes or descriptors: who restarts it tries again.
        raise ProcessError(f"cannot start {argv[0]!r}: {error.strerror}") from error


def start_detached(
    argv: Sequence[str], *, output: IO[bytes], keeps: Sequence[int] = ()
) -> Detached:
    """Start `argv` in its own session that outlives us; the caller must end it.

    The child inherits the descriptors in `keeps`, such as a lock that it is to hold.
    """
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        pass_fds=keeps,
    )


@asynccontextmanager
async def started(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: Output = subprocess.DEVNULL,
    stdout: Output = None,
    stderr: Output = None,
    grace: float = 10.0,
    orphaned: signal.Signals = signal.SIGKILL,
    held: Sequence[signal.Signals] = (),
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A running child that is ended with all its descendants when the block ends.

    `grace` is the seconds between SIGTERM and SIGKILL.
    """
    child = await start(
        argv,
        env=env,
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        orphaned=orphaned,
        held=held,
    )
    try:
        yield child
    finally:
        await asyncio.shield(end_tree(child, grace=grace))


async def end_tree(child: asyncio.subprocess.Process, *, grace: float) -> None:
    """SIGTERM to the child's group, `grace` seconds, then SIGKILL to every descendant left.

    Returns when all of them are gone.
    """
    # Include the group: a process whose parent has died is not a descendant any more.
    family = set(descendants(child.pid))
    family |= {pid for pid, _, group in _processes() if group == child.pid}
    if child.returncode is None:
        # Signal the group: MPI ranks and Triton's stubs otherwise outlive their parent.
        _signal_group(child.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                await child.wait()
        except TimeoutError:
            if grace:
                logger.warning("process %d ignored SIGTERM for %g s, killing it", child.pid, grace)
            family |= set(descendants(child.pid))
    _signal_group(child.pid, signal.SIGKILL)
    await asyncio.gather(*(kill(pid) for pid in family - {child.pid}))
    await child.wait()


async def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Signal a process that is not our child, and wait until it is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    try:
        signal.pidfd_send_signal(descriptor, number)
        loop.add_reader(descriptor, gone.set)
        await gone.wait()
    except ProcessLookupError:
        return
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def descendants(pid: int) -> list[int]:
    """Process ids of all children of `pid`, their children, and so on (Linux, from /proc)."""
    children: dict[int, list[int]] = {}
    for child, parent, _ in _processes():
        children.setdefault(parent, []).append(child)
    found: list[int] = []
    todo = [pid]
    while todo:
        next_ones = children.get(todo.pop(), [])
        found += next_ones
        todo += next_ones
    return found


def ancestors(pid: int) -> list[int]:
    """The parent of `pid`, its parent, and so on."""
    found = []
    with contextlib.suppress(OSError):
        while (pid := int(_stat(pid)[1])) > 0:
            found.append(pid)
    return found


def birth_of(pid: int) -> int | None:
    """Start time in clock ticks since boot, unique with the process id; None if it has ended."""
    try:
        fields = _stat(pid)
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def processor_seconds(pid: int) -> float:
    """CPU seconds used so far by a process and its running descendants."""
    ticks = 0
    for each in (pid, *descendants(pid)):
        with contextlib.suppress(OSError, IndexError):
            user, system = _stat(each)[11:13]
            ticks += int(user) + int(system)
    return ticks / os.sysconf("SC_CLK_TCK")


def run(
    argv: Sequence[str], *, env: Mapping[str, str] | None = None, timeout: float | None = None
) -> str:
    """Run a short command and return its output; ProcessError contains its last lines."""
    try:
        done = subprocess.run(
            argv,
            env=env,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError as error:
        raise ProcessError(f"cannot start {argv[0]!r}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise ProcessError(f"{argv[0]} did not finish within {error.timeout:g} s") from error
    if done.returncode:
        last = "\n".join(done.stdout.strip().splitlines()[-15:])
        raise ProcessError(f"{' '.join(argv)} {describe_exit(done.returncode)}:\n{last}")
    return done.stdout


def describe_exit(returncode: int) -> str:
    """'exited with status 2' or 'was killed by SIGKILL'."""
    if returncode >= 0:
        return f"exited with status {returncode}"
    try:
        return f"was killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"was killed by signal {-returncode}"


def find_program(name: str, path: str | None = None) -> Path | None:
    found = shutil.which(name, path=path)
    return Path(found) if found else None


def process_ids() -> list[int]:
    """The ids of all processes."""
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _processes() -> Iterator[tuple[int, int, int]]:
    """(pid, parent's pid, process group) of every process."""
    for pid in process_ids():
        with contextlib.suppress(OSError):
            parent, group = _stat(pid)[1:3]
            yield pid, int(parent), int(group)


def _stat(pid: int) -> list[str]:
    """The fields of a process from its state on: state, parent, group, ... Raises OSError."""
    stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    # The command name may contain spaces and brackets; fields count from its last bracket.
    return stat.rpartition(")")[2].split()


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)
