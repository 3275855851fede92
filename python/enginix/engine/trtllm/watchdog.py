"""Runs a TensorRT-LLM program until it ends, or stops it: success is judged by its files.

`trtllm-build` is known to finish its engines and never exit, to die half way with status 0, and to
hang without output. A `Policy` decides from one observation; `watch` observes and acts.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from io import FileIO
from pathlib import Path

from enginix.engine.trtllm.command import MARK
from enginix.engine.trtllm.log import LogEvent, LogTail, Warned
from enginix.engine.trtllm.orphans import family, is_open
from enginix.errors import BuildStalled, DeadlinePassed
from enginix.marked import end_marked
from enginix.memory import resident_memory
from enginix.process import started

OBSERVE_EVERY = 0.2
MAX_EVENTS = 10_000
# Different warnings that are passed on; all of them are in the log.
MAX_WARNINGS = 50


@dataclass(frozen=True, slots=True)
class Patience:
    """Time limits, in seconds."""

    silence: float = 1800.0
    """Without output or file changes."""
    deadline: float = 6 * 3600.0
    settle: float = 0.5
    """How long files must be complete, closed and unchanged to count as done."""
    linger: float = 0.5
    """To exit after everything is complete."""
    grace: float = 0.5
    """To exit after a signal."""


class Verdict(Enum):
    WAIT = "go on"
    EXITED = "the program ended by itself"
    LINGERED = "everything is complete and the program does not leave"
    STALLED = "nothing moves"
    LATE = "the deadline passed"


@dataclass(frozen=True, slots=True)
class Observation:
    """The state at one moment."""

    has_exited: bool
    is_complete: bool
    """Every file exists and looks complete, and no process writes to one."""
    progress: tuple[int, ...]
    """Sizes of the log and of the files; any change shows progress."""


class Policy:
    def __init__(self, patience: Patience, now: float) -> None:
        self._patience = patience
        self._started = now
        self._moved = now
        self._complete_since: float | None = None
        self._progress: tuple[int, ...] = ()

    def decide(self, now: float, observation: Observation) -> Verdict:
        if observation.progress != self._progress:
            self._progress, self._moved = observation.progress, now
        if not observation.is_complete:
            self._complete_since = None
        elif self._complete_since is None:
            self._complete_since = now
        if observation.has_exited:
            return Verdict.EXITED
        if self._is_settled(now):
            return Verdict.LINGERED
        if now - self._moved >= self._patience.silence:
            return Verdict.STALLED
        return Verdict.LATE if now - self._started >= self._patience.deadline else Verdict.WAIT

    def _is_settled(self, now: float) -> bool:
        if self._complete_since is None:
            return False
        # A new line in the log is no reason to wait longer; a changed file is.
        needed = self._patience.settle + self._patience.linger
        return now - self._complete_since >= needed


@dataclass(frozen=True, slots=True)
class Task:
    """A program to watch: `files` are its outputs, `is_complete` checks them."""

    program: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    mark: str
    directory: Path
    log: Path
    files: Sequence[Path]
    is_complete: Callable[[], bool]


@dataclass(slots=True)
class Outcome:
    """`returncode` None: it was stopped because everything was complete. Of very many events, the
    first are forgotten."""

    returncode: int | None = None
    peak_memory: int = 0
    events: deque[LogEvent] = field(default_factory=lambda: deque(maxlen=MAX_EVENTS))


async def watch(
    task: Task,
    patience: Patience,
    report: Callable[[LogEvent], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Outcome:
    """Run `task` until it exits or is complete; in any case, stop all that it started."""
    outcome, warned = Outcome(), set[LogEvent]()

    def take(events: list[LogEvent]) -> None:
        for event in events:
            if not isinstance(event, Warned):
                outcome.events.append(event)
            elif event in warned or len(warned) == MAX_WARNINGS:
                # Every rank says the same.
                continue
            else:
                warned.add(event)
            report(event)

    await end_marked(MARK, task.mark)
    # A file, not a pipe: an orphan that holds a pipe open would keep it from ending.
    with task.log.open("w+b") as log, FileIO(task.log) as file:
        tail = LogTail(file)
        try:
            async with started(
                task.argv,
                env=task.environment,
                cwd=task.directory,
                stdout=log,
                stderr=log,
                grace=patience.grace,
                # It stops the workers that MPI has started for it.
                orphaned=signal.SIGTERM,
            ) as child:
                policy = Policy(patience, clock())
                while True:
                    pids = family(child.pid, task.mark)
                    outcome.peak_memory = max(outcome.peak_memory, resident_memory(pids))
                    take(tail.read())
                    verdict = policy.decide(
                        clock(), _observe(task, pids, child.returncode is not None)
                    )
                    if verdict is not Verdict.WAIT:
                        break
                    await _first_of(child.wait(), pause(OBSERVE_EVERY))
                outcome.returncode = child.returncode
        finally:
            await asyncio.shield(end_marked(MARK, task.mark))
        take(tail.finish())
    if verdict is Verdict.STALLED:
        raise BuildStalled(task.program, patience.silence, task.log)
    if verdict is Verdict.LATE:
        raise DeadlinePassed(task.program, patience.deadline, task.log)
    return outcome


def _observe(task: Task, pids: set[int], has_exited: bool) -> Observation:
    sizes = (_size(task.log), *(_size(path) for path in task.files))
    return Observation(
        has_exited=has_exited,
        is_complete=task.is_complete() and not is_open(task.files, pids),
        progress=sizes,
    )


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


async def _first_of(*waits: Awaitable[object]) -> None:
    tasks = [asyncio.ensure_future(each) for each in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
