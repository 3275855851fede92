"""Scores the tokens of a text by running the token engine's score.py in its runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from enginix.accuracy.windows import Window
from enginix.engine.gguf.program import Generator, run_program


@dataclass(frozen=True, slots=True)
class Score:
    logprob: float
    """The sum of the natural log probabilities of all scored tokens; may be NaN."""
    llama_cpp: str
    """The version of the library that ran the model."""


def score(
    generator: Generator,
    model: Path,
    windows: Sequence[Window],
    scored: Callable[[int], None],
) -> Score:
    """Run `model` over the windows; `generator.program` is score.py.

    `scored` gets the number of windows that are done.
    """
    lines = run_program(
        generator,
        model,
        max(len(window.ids) for window in windows),
        [{"ids": list(window.ids), "first": window.first} for window in windows],
        late="is the machine busy? Try again, or with a shorter text",
        answered=scored,
    )
    return Score(sum(line["logprob"] for line in lines), lines[-1]["llama_cpp"])
