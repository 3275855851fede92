"""Shows a download: a progress bar on a terminal, an occasional line in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from enginix.checkpoint.download import Checked, Checking, Damaged, Event, Started
from enginix.checkpoint.transfer import Received, Retrying
from enginix.cli.views.console import Console
from enginix.cli.views.sizes import human_size

LOG_INTERVAL = 10.0


@contextmanager
def download_view(stream: TextIO) -> Iterator[Callable[[Event], None]]:
    if not stream.isatty():
        yield LogLines(stream)
        return
    console = Console(file=stream)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        yield Bar(progress)


class Bar:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def __call__(self, event: Event) -> None:
        match event:
            case Checking(name):
                self._progress.console.print(f"checking {name}", highlight=False)
            case Started(listing, have):
                self._task = self._progress.add_task(
                    listing.repo, total=listing.size_bytes, completed=have
                )
            case Received(_, count):
                self._advance(count)
            case Damaged(name, why, lost):
                self._advance(-lost)
                self._print(f"{name}: {why}; fetching it again")
            case Retrying(name, why, pause) if pause > 1:
                self._print(f"{name}: {why}; retrying in {pause:g} s")
            case Checked() | Retrying():
                pass

    def _advance(self, count: int) -> None:
        if self._task is not None:
            self._progress.advance(self._task, count)

    def _print(self, line: str) -> None:
        self._progress.console.print(line, highlight=False, markup=False)


class LogLines:
    """At most one progress line per LOG_INTERVAL, so that a log of hours stays short."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._started = self._next = clock()
        self._total = self._have = self._received = 0

    def __call__(self, event: Event) -> None:
        match event:
            case Checking(name):
                self._print(f"checking {name}")
            case Started(listing, have):
                self._start(listing.size_bytes, have)
                here = f", {human_size(have)} of them already here" if have else ""
                self._print(
                    f"fetching {listing.repo} at {listing.revision[:12]}: "
                    f"{len(listing.files)} files, {human_size(self._total)}{here}"
                )
            case Received(_, count):
                self._received += count
                if self._is_time():
                    self._print(self._state())
            case Damaged(name, why, lost):
                self._received -= lost
                self._print(f"{name}: {why}; fetching it again")
            case Retrying(name, why, pause, limited):
                # A rate limit is one line for all connections, and explains why nothing moves.
                if limited or self._is_time():
                    self._print(f"{name}: {why}; retrying in {pause:g} s")
            case Checked():
                pass

    def _start(self, total: int, have: int) -> None:
        self._total, self._have = total, have
        self._started = self._clock()
        self._next = self._started + LOG_INTERVAL

    def _state(self) -> str:
        done = self._have + self._received
        rate = self._received / max(self._clock() - self._started, 1e-9)
        left = (self._total - done) / rate if rate > 0 else 0
        return (
            f"{100 * done // max(self._total, 1):3} %  {human_size(done)} of "
            f"{human_size(self._total)}, {human_size(round(rate))}/s, {left:.0f} s left"
        )

    def _is_time(self) -> bool:
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + LOG_INTERVAL
        return True

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)
