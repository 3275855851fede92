"""Talks to modelopt_program.py, which runs in ModelOpt's own Python: commands in, answers out."""

from __future__ import annotations

import asyncio
import json
import os
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enginix.errors import BuildStalled, EnginixError
from enginix.process import describe_exit, end_tree, processor_seconds, start

PROGRAM = Path(__file__).with_name("modelopt_program.py")
NAME = "ModelOpt"

GRACE = 2.0
SILENCE = 600.0
LOOK_SECONDS = 1.0
# Less processor time than this while nothing is printed is no work.
WORK_SECONDS = 1.0

Progress = Callable[[float], None]
"""Gets the share that is done, from 0 to 1."""
Explain = Callable[[str, str, str], EnginixError]
"""The error for a failure: its kind, its message, and the command that failed."""


@dataclass(frozen=True, slots=True)
class Environment:
    """`variables` are those of the program; `silence` is the seconds without a sign of life."""

    python: Path
    variables: Mapping[str, str]
    log: Path
    silence: float


class Session:
    """`machine` is what the program says of itself: versions and GPUs."""

    def __init__(
        self,
        runner: asyncio.Runner,
        child: Process,
        environment: Environment,
        explain: Explain,
    ) -> None:
        self._runner, self._child = runner, child
        self._environment, self._explain = environment, explain
        self.machine: dict[str, Any] = runner.run(self._answer("start", _ignore))

    def ask(self, do: str, progress: Progress | None = None, **arguments: Any) -> dict[str, Any]:
        """The result of a command; what `explain` makes of its failure is raised."""
        line = json.dumps({"do": do, **arguments}) + "\n"
        return self._runner.run(self._ask(do, line.encode(), progress or _ignore))

    async def _ask(self, do: str, line: bytes, progress: Progress) -> dict[str, Any]:
        assert self._child.stdin is not None
        # A program that ended early is reported below.
        with suppress(ConnectionError):
            self._child.stdin.write(line)
            await self._child.stdin.drain()
        return await self._answer(do, progress)

    async def _answer(self, do: str, progress: Progress) -> dict[str, Any]:
        while line := await self._line():
            answer: dict[str, Any] = json.loads(line)
            if "failed" in answer:
                raise self._explain(answer["failed"], answer["message"], do)
            if "result" in answer:
                result: dict[str, Any] = answer["result"]
                return result
            done, total = answer["progress"]
            progress(done / total)
        code = await self._child.wait()
        killed = code in (-9, 128 + 9)
        raise self._explain("killed" if killed else "ended", describe_exit(code), do)

    async def _line(self) -> bytes:
        """The next line; BuildStalled if the program neither prints nor computes for too long."""
        assert self._child.stdout is not None
        reading = asyncio.ensure_future(self._child.stdout.readline())
        quiet, since = self._signs(), time.monotonic()
        try:
            while not (await asyncio.wait([reading], timeout=LOOK_SECONDS))[0]:
                log, work = self._signs()
                if log != quiet[0] or work - quiet[1] >= WORK_SECONDS:
                    quiet, since = (log, work), time.monotonic()
                elif time.monotonic() - since >= self._environment.silence:
                    raise BuildStalled(NAME, self._environment.silence, self._environment.log)
            return reading.result()
        finally:
            reading.cancel()

    def _signs(self) -> tuple[int, float]:
        return os.stat(self._environment.log).st_size, processor_seconds(self._child.pid)


@contextmanager
def session(environment: Environment, explain: Explain) -> Iterator[Session]:
    """A running program, ended with the block; its log is removed unless the block fails."""
    with asyncio.Runner() as runner, environment.log.open("wb") as log:
        child = runner.run(
            start(
                # The caller's PYTHONPATH and user packages would shadow the environment's own.
                [str(environment.python), "-E", "-s", str(PROGRAM)],
                env=environment.variables,
                stdin=PIPE,
                stdout=PIPE,
                stderr=log,
            )
        )
        try:
            yield Session(runner, child, environment, explain)
        finally:
            runner.run(end_tree(child, grace=GRACE))
    environment.log.unlink()


def _ignore(_: float) -> None:
    """For a command whose progress is not shown."""
