"""A build's stages: each has a name, a one-line summary, its duration and its peak memory."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StageStarted:
    name: str


@dataclass(frozen=True, slots=True)
class StageProgress:
    name: str
    done: float
    """From 0 to 1."""


@dataclass(frozen=True, slots=True)
class StageFinished:
    name: str
    summary: str
    seconds: float
    peak_memory: int
    """Peak bytes of this process, or of the stage's child processes."""


StageEvent = StageStarted | StageProgress | StageFinished
Report = Callable[[StageEvent], None]


class Stage:
    """Lets the body of a stage report its progress and summary."""

    def __init__(self, name: str, report: Report) -> None:
        self.name = name
        self.summary = ""
        self.children_memory = 0
        """Set by a stage that works in child processes: peak bytes of the largest."""
        self._report = report

    def progress(self, done: float) -> None:
        self._report(StageProgress(self.name, done))


class Stages:
    def __init__(self, report: Report) -> None:
        self._report = report

    @contextmanager
    def run(self, name: str) -> Iterator[Stage]:
        """Run the block as a stage; one that raises reports no end."""
        self._report(StageStarted(name))
        stage = Stage(name, self._report)
        forget_peak_memory()
        start = time.monotonic()
        yield stage
        seconds = time.monotonic() - start
        memory = max(peak_memory(), stage.children_memory)
        self._report(StageFinished(name, stage.summary, seconds, memory))


def peak_memory() -> int:
    """Peak bytes of this process since `forget_peak_memory`."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def forget_peak_memory() -> None:
    try:
        # 5 resets the high-water mark (man 5 proc).
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        # Some sandboxes forbid it: then a stage reports the peak since the process started.
        return
