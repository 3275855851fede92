"""One supervised server: starts it, says when it is ready, remembers its last words."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO

from enginix.errors import StartFailed
from enginix.process import describe_exit, end_tree, start

logger = logging.getLogger(__name__)

READY_POLL = 0.1
LAST_WORDS = 12


class State(Enum):
    IDLE = "idle"
    LOADING = "loading"
    LOADED = "loaded"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to run. `is_ready` answers whether the server serves; `deadline` is in seconds."""

    name: str
    argv: Sequence[str]
    log: Path
    is_ready: Callable[[], Awaitable[bool]]
    deadline: float = 120.0
    grace: float = 15.0


class Child:
    """Not restartable by itself: who restarts, and when, is the supervisor's decision."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.state = State.IDLE
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Return once it is ready; StartFailed, with its last lines, if that does not come."""
        self._become(State.LOADING)
        self.spec.log.parent.mkdir(parents=True, exist_ok=True)
        with self.spec.log.open("wb") as log:
            self._process = await self._run(log)
        try:
            await asyncio.wait_for(self._until_ready(self._process), self.spec.deadline)
        except TimeoutError:
            self._become(State.ERROR)
            raise StartFailed(
                f"{self.spec.name} was not ready within {self.spec.deadline:g} s; {self._said()}"
            ) from None
        self._become(State.LOADED)

    async def ended(self) -> str:
        """Wait until it ends by itself; the sentence says how, with its last lines."""
        assert self._process is not None, "ended() follows start()"
        returncode = await self._process.wait()
        self._become(State.ERROR)
        return f"{self.spec.name} {describe_exit(returncode)}; {self._said()}"

    async def stop(self) -> None:
        if self._process is not None:
            await end_tree(self._process, grace=self.spec.grace)
            self._process = None
            self._become(State.IDLE)

    async def _run(self, log: IO[bytes]) -> asyncio.subprocess.Process:
        return await start(self.spec.argv, stdout=log, stderr=log)

    async def _until_ready(self, process: asyncio.subprocess.Process) -> None:
        while not await self.spec.is_ready():
            if process.returncode is not None:
                raise StartFailed(await self.ended())
            await asyncio.sleep(READY_POLL)

    def _said(self) -> str:
        lines = self.spec.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if not lines:
            return f"it said nothing (log: {self.spec.log})"
        return f"its last words ({self.spec.log}):\n" + os.linesep.join(lines[-LAST_WORDS:])

    def _become(self, state: State) -> None:
        if state is not self.state:
            logger.debug("%s: %s -> %s", self.spec.name, self.state.value, state.value)
        self.state = state
