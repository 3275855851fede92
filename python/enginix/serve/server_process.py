"""One server's process: starts it, waits until it is ready, keeps its last log lines, ends it."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import IO

from enginix.errors import ProcessError, StartFailed
from enginix.marked import end_marked
from enginix.ports import until_free
from enginix.process import descendants, describe_exit, end_tree, processor_seconds, start
from enginix.serve.log import RotatingLog
from enginix.serve.processor_waits import ProcessorWaits

logger = logging.getLogger(__name__)

READY_POLL = 0.1
EXCERPT_LINES = 12
# How long the previous server may take to release its ports.
PORT_SECONDS = 15.0
GRACE_SECONDS = 15.0

MARK = "ENGINIX_SERVER"
"""A variable in the environment of all a server's processes, to find orphans."""


def with_mark(env: Mapping[str, str]) -> dict[str, str]:
    return {**env, MARK: secrets.token_hex(8)}


class State(Enum):
    IDLE = "idle"
    LOADING = "loading"
    LOADED = "loaded"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """What to run. `is_ready` tells whether the server serves; `deadline` is in seconds."""

    name: str
    argv: Sequence[str]
    log: Path
    is_ready: Callable[[], Awaitable[bool]]
    deadline: float = 120.0
    grace: float = GRACE_SECONDS
    """Seconds to end by itself; a wedged server gets none."""
    env: Mapping[str, str] | None = field(default=None, repr=False)
    """With MARK in it, all that a server has started is found when it ends."""
    host: str = "127.0.0.1"
    ports: Sequence[int] = ()
    """Ports that must be free before it starts."""
    orphaned: signal.Signals = signal.SIGKILL
    """The signal it gets when the supervisor dies."""


class ServerProcess:
    """It never restarts itself: RestartingServer decides when, and is its only caller.

    Only this class writes its state.
    """

    def __init__(self, spec: ServerSpec) -> None:
        self.spec = spec
        self.state = State.IDLE
        self.since = time.time()
        """When it came into this state, in seconds since 1970."""
        self.changed_at = time.monotonic()
        """The same by the monotonic clock, which no one can set."""
        self.error: str | None = None
        """Why it failed last; kept until it is stopped on purpose."""
        self.log = RotatingLog(spec.log)
        self.change = asyncio.Event()
        """Set when the state changes; each state has a new one."""
        self._waits = ProcessorWaits()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def processor_seconds(self) -> float:
        """Processor time of all its processes so far."""
        return processor_seconds(self._process.pid) if self._process else 0.0

    def processor_waits(self) -> float:
        """Seconds for which they, or this process that watches them, were ready but not run."""
        pids = [self._process.pid, *descendants(self._process.pid)] if self._process else []
        return self._waits.seconds([*pids, os.getpid()])

    async def start(self) -> None:
        """Return once it is ready; StartFailed quotes its log if that fails."""
        self._become(State.LOADING)
        spec = self.spec
        try:
            await until_free(spec.host, spec.ports, PORT_SECONDS)
        except ProcessError as error:
            raise StartFailed(f"{spec.name} was not started: {error}") from None
        with self._opened_log() as log:
            self._process = await start(
                spec.argv, env=spec.env, stdout=log, stderr=log, orphaned=spec.orphaned
            )
        try:
            async with asyncio.timeout(self.spec.deadline):
                await self._until_ready(self._process)
        except TimeoutError:
            raise StartFailed(
                f"{self.spec.name} was not ready within {self.spec.deadline:g} s; "
                f"{self._log_excerpt()}"
            ) from None
        self._become(State.LOADED)

    async def ended(self) -> str:
        """Wait until it ends by itself; the returned sentence says how and quotes its log."""
        assert self._process is not None, "ended() follows start()"
        returncode = await self._process.wait()
        return f"{self.spec.name} {describe_exit(returncode)}; {self._log_excerpt()}"

    async def fail(self, why: str, *, at_once: bool) -> None:
        """End all its processes and keep the reason."""
        self.error = why
        self._become(State.ERROR)
        await self._end(0.0 if at_once else self.spec.grace)

    async def stop(self) -> None:
        await self._end(self.spec.grace)
        self.error = None
        self._become(State.IDLE)

    async def _end(self, grace: float) -> None:
        if self._process is not None:
            # Even if this is cancelled, the processes must be gone before the next start.
            await asyncio.shield(self._end_all(self._process, grace))
            self._process = None

    async def _end_all(self, process: asyncio.subprocess.Process, grace: float) -> None:
        await end_tree(process, grace=grace)
        if mark := (self.spec.env or {}).get(MARK):
            # Orphans are no longer in the process tree.
            await end_marked(MARK, mark)

    async def _until_ready(self, process: asyncio.subprocess.Process) -> None:
        while not await self.spec.is_ready():
            if process.returncode is not None:
                raise StartFailed(await self.ended())
            await asyncio.sleep(READY_POLL)

    def _opened_log(self) -> IO[bytes]:
        try:
            return self.log.open()
        except OSError as error:
            raise StartFailed(
                f"{self.spec.name} was not started: its log {self.spec.log} cannot be written: "
                f"{error.strerror}"
            ) from None

    def _log_excerpt(self) -> str:
        lines = self.log.last_lines(EXCERPT_LINES)
        if not lines:
            # Most programs end when they cannot write.
            full = "" if _has_space(self.spec.log.parent) else ", whose disk is full: free some"
            return f"it logged nothing (log: {self.spec.log}{full})"
        return f"its last log lines ({self.spec.log}):\n" + os.linesep.join(lines)

    def _become(self, state: State) -> None:
        if state is not self.state:
            logger.debug("%s: %s -> %s", self.spec.name, self.state.value, state.value)
            self.state, self.since, self.changed_at = state, time.time(), time.monotonic()
            self.change.set()
            self.change = asyncio.Event()


def _has_space(directory: Path) -> bool:
    try:
        return shutil.disk_usage(directory).free > 0
    except OSError:
        return True
