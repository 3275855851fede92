"""Generates an engine's greedy answers by running the token engine in its runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from enginix.engine.gguf.program import Generator, run_program
from enginix.errors import EngineDamaged
from enginix.manifest import Check

NEW_TOKENS = 16
"""Tokens recorded per answer: enough to detect a wrong model, few enough to be fast."""


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


def ask(
    generator: Generator,
    model: Path,
    questions: Sequence[Question],
    answered: Callable[[int], None] = lambda _: None,
) -> list[list[int]]:
    """The greedy continuation of each prompt, exactly `max_tokens` long."""
    if not questions:
        return []
    longest = max(len(one.prompt_ids) + one.max_tokens for one in questions)
    answers = run_program(
        generator,
        model,
        longest + 1,
        [
            {"prompt_ids": list(one.prompt_ids), "max_tokens": one.max_tokens, "stop_ids": []}
            for one in questions
        ],
        late="is the machine busy? Build again, or without the runtime to leave it out",
        answered=answered,
    )
    return [answer["ids"] for answer in answers]
