"""Runs one of the token engine's programs in its runtime: JSON lines in, JSON lines out."""

from __future__ import annotations

import asyncio
import json
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enginix import process
from enginix.errors import BuildError


@dataclass(frozen=True, slots=True)
class Generator:
    """`program` is the token engine's generate.py, `python` the interpreter of its runtime."""

    python: Path
    program: Path
    threads: int = 0
    """0: as many as suit the model and this machine."""
    deadline: float = 1800.0
    """Seconds until the first answer, and from each to the next."""
    environment: Mapping[str, str] | None = None
    """None: this process' own."""


def run_program(
    generator: Generator,
    model: Path,
    context: int,
    tasks: Sequence[Mapping[str, Any]],
    *,
    late: str,
    answered: Callable[[int], None] = lambda _: None,
) -> list[Any]:
    """The answer to each of `tasks`; BuildError if the program gives another number of them.

    `late` says what to do about a program that takes too long. `answered` gets the number of
    answers so far.
    """
    lines = "".join(f"{json.dumps(task)}\n" for task in tasks)
    argv = _argv(generator, model, context)
    answers = asyncio.run(_run(generator, argv, lines, late, answered))
    if len(answers) != len(tasks):
        raise BuildError(
            f"{generator.program.name} answered {len(answers)} of {len(tasks)} prompts; "
            "make its runtime again with `enginix setup triton-cpu`"
        )
    return answers


def _argv(generator: Generator, model: Path, context: int) -> list[str]:
    return [
        str(generator.python),
        # The caller's PYTHONPATH and user packages would shadow the runtime's own.
        "-E",
        "-s",
        str(generator.program),
        "--model",
        str(model),
        "--threads",
        str(generator.threads),
        "--context",
        str(context),
    ]


async def _run(
    generator: Generator,
    argv: Sequence[str],
    lines: str,
    late: str,
    answered: Callable[[int], None],
) -> list[Any]:
    answers: list[Any] = []
    with tempfile.TemporaryFile() as errors:
        async with process.started(
            argv, env=generator.environment, stdin=PIPE, stdout=PIPE, stderr=errors
        ) as child:
            writing = asyncio.ensure_future(_write(child, lines.encode()))
            try:
                while line := await _next_line(child, generator.deadline):
                    answers.append(json.loads(line))
                    answered(len(answers))
                async with asyncio.timeout(generator.deadline):
                    await child.wait()
            except TimeoutError:
                raise BuildError(
                    f"the engine's check did not finish within {generator.deadline:g} s; {late}"
                ) from None
            finally:
                writing.cancel()
        if child.returncode:
            errors.seek(0)
            last = errors.read().decode(errors="replace").strip().splitlines()[-1:]
            raise BuildError(
                f"the engine could not be run: {generator.program.name} "
                f"{process.describe_exit(child.returncode)}: {' '.join(last) or 'no output'}"
            )
    return answers


async def _write(child: Process, data: bytes) -> None:
    assert child.stdin is not None
    # A program that ends early says why by itself.
    with suppress(ConnectionError):
        child.stdin.write(data)
        await child.stdin.drain()
    child.stdin.close()


async def _next_line(child: Process, seconds: float) -> bytes:
    assert child.stdout is not None
    async with asyncio.timeout(seconds):
        return await child.stdout.readline()
