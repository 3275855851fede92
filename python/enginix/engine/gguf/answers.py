"""Generates an engine's greedy answers by running the token engine in its runtime."""

from __future__ import annotations

import asyncio
import json
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from enginix import process
from enginix.errors import BuildError, EngineDamaged
from enginix.manifest import Check

NEW_TOKENS = 16
"""Tokens recorded per answer: enough to detect a wrong model, few enough to be fast."""

# Below this size a model answers at once, and more threads would only slow it down.
SMALL_MODEL_BYTES = 64_000_000


@dataclass(frozen=True, slots=True)
class Generator:
    """`program` is the token engine's generate.py, `python` the interpreter of its runtime."""

    python: Path
    program: Path
    threads: int
    deadline: float = 1800.0
    """Seconds for all answers together."""
    environment: Mapping[str, str] | None = None
    """None: this process' own."""


@dataclass(frozen=True, slots=True)
class Question:
    prompt_ids: Sequence[int]
    max_tokens: int


def compare_answers(generator: Generator, model: Path, check: Sequence[Check]) -> None:
    """Raise EngineDamaged if the model's answers differ from those of `check`."""
    questions = [Question(one.prompt_ids, len(one.answer_ids)) for one in check]
    for number, (one, found) in enumerate(
        zip(check, ask(generator, model, questions), strict=True), start=1
    ):
        if found != one.answer_ids:
            raise EngineDamaged(
                f"{model.name} gives another answer to check {number} of {len(check)}: found "
                f"{found}, expected {one.answer_ids}; the engine is not what it was built to be"
            )


def record_answers(
    generator: Generator, model: Path, prompts: Sequence[list[int]], stop_ids: Iterable[int]
) -> list[Check]:
    """The model's answers, each up to and including the token that ends it."""
    stops = set(stop_ids)
    answers = ask(generator, model, [Question(prompt, NEW_TOKENS) for prompt in prompts])
    return [
        Check(prompt, until_stop(answer, stops))
        for prompt, answer in zip(prompts, answers, strict=True)
    ]


def until_stop(answer: list[int], stops: set[int]) -> list[int]:
    end = next((place for place, token in enumerate(answer) if token in stops), len(answer))
    return answer[: end + 1]


def ask(generator: Generator, model: Path, questions: Sequence[Question]) -> list[list[int]]:
    """The greedy continuation of each prompt, exactly `max_tokens` long."""
    if not questions:
        return []
    lines = [
        json.dumps(
            {"prompt_ids": list(one.prompt_ids), "max_tokens": one.max_tokens, "stop_ids": []}
        )
        for one in questions
    ]
    output = asyncio.run(_run(generator, _argv(generator, model, questions), "\n".join(lines)))
    answers = [json.loads(line)["ids"] for line in output.splitlines() if line.strip()]
    if len(answers) != len(questions):
        raise BuildError(
            f"{generator.program.name} answered {len(answers)} of {len(questions)} prompts; "
            "make its runtime again with `enginix setup triton-cpu`"
        )
    return answers


def _argv(generator: Generator, model: Path, questions: Sequence[Question]) -> list[str]:
    longest = max(len(one.prompt_ids) + one.max_tokens for one in questions)
    # More threads than free cores slow a small model down by an order of magnitude.
    is_small = model.stat().st_size < SMALL_MODEL_BYTES
    return [
        str(generator.python),
        # The caller's PYTHONPATH and user packages would shadow the runtime's own.
        "-E",
        "-s",
        str(generator.program),
        "--model",
        str(model),
        "--threads",
        str(1 if is_small else generator.threads),
        "--parallel",
        "1",
        "--context",
        str(longest + 1),
    ]


async def _run(generator: Generator, argv: Sequence[str], lines: str) -> str:
    with tempfile.TemporaryFile() as errors:
        async with process.started(
            argv, env=generator.environment, stdin=PIPE, stdout=PIPE, stderr=errors
        ) as child:
            try:
                async with asyncio.timeout(generator.deadline):
                    output, _ = await child.communicate(f"{lines}\n".encode())
            except TimeoutError:
                raise BuildError(
                    f"the engine's check did not finish within {generator.deadline:g} s; "
                    "is the machine busy? Build again, or without the runtime to leave it out"
                ) from None
        if child.returncode:
            errors.seek(0)
            last = errors.read().decode(errors="replace").strip().splitlines()[-1:]
            raise BuildError(
                f"the engine could not be run: {generator.program.name} "
                f"{process.describe_exit(child.returncode)}: {' '.join(last) or 'no output'}"
            )
    return output.decode()
