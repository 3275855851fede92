"""The real llama.cpp gives tokens the log probabilities that the reference computes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine.gguf.forward import Decoder
from fakes.made_checkpoint import DEMO

from enginix.accuracy.windows import Window
from enginix.engine.gguf.program import Generator
from enginix.engine.gguf.score import Score, score
from enginix.errors import BuildError

pytestmark = pytest.mark.triton

Write = Callable[[Path], Path]


@pytest.fixture
def run(generator: Generator, write: Write) -> Callable[..., Score]:
    scorer = replace(generator, program=generator.program.with_name("score.py"))
    model = write(DEMO)
    return lambda *windows: score(scorer, model, windows, lambda done: None)


def reference(window: Window) -> float:
    logits = Decoder(DEMO).logits(list(window.ids)).astype(np.float64)
    found = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    places = range(window.first, len(window.ids))
    return float(sum(found[place - 1, window.ids[place]] for place in places))


def test_the_log_probabilities_are_those_of_the_definition(
    run: Callable[..., Score], evals: list[dict[str, Any]]
) -> None:
    # Of a text that the model knows, of one that it does not, and of one longer than a step.
    known = Window(evals[0]["prompt_ids"] + evals[0]["answer_ids"], 1)
    unknown = Window(np.random.default_rng(1).integers(0, 2000, 60).tolist(), 20)
    long = Window([token for one in evals[:8] for token in one["prompt_ids"]][:300], 150)

    expected = [reference(window) for window in (known, unknown, long)]
    found = [run(window).logprob for window in (known, unknown, long)]

    assert found == pytest.approx(expected, rel=0.02)
    assert run(known, unknown, long).logprob == pytest.approx(sum(found), rel=1e-6)


def test_progress_counts_windows(generator: Generator, write: Write) -> None:
    scorer = replace(generator, program=generator.program.with_name("score.py"))
    done: list[int] = []

    found = score(scorer, write(DEMO), [Window([1, 2, 3], 1)] * 3, done.append)

    assert done == [1, 2, 3]
    assert math.isfinite(found.logprob)


def test_a_token_that_the_model_does_not_have_is_named(run: Callable[..., Score]) -> None:
    with pytest.raises(BuildError, match="token ids from 1 to 9999; this model has 0 to 2047"):
        run(Window([1, 9999], 1))


def test_a_window_may_be_longer_than_what_a_small_model_starts_with(
    run: Callable[..., Score],
) -> None:
    ids = np.random.default_rng(2).integers(0, 2000, 4500).tolist()

    assert math.isfinite(run(Window(ids, 4490)).logprob)
