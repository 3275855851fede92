"""An engine's answers are generated, compared and recorded; an error is one sentence."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from enginix.engine.gguf.answers import (
    Question,
    ask,
    compare_answers,
    record_answers,
)
from enginix.engine.gguf.program import Generator
from enginix.errors import BuildError, EngineDamaged, ProcessError
from enginix.manifest import Check

FAKE = Path(__file__).parents[2] / "fakes" / "generate.py"


@pytest.fixture
def fake() -> Generator:
    return Generator(Path(sys.executable), FAKE, threads=1)


def model(directory: Path, script: str) -> Path:
    path = directory / "model.gguf"
    path.write_text(script)
    return path


def test_the_recorded_answers_pass(fake: Generator, tmp_path: Path) -> None:
    compare_answers(fake, model(tmp_path, "count 5"), [Check([1], [5, 6]), Check([2], [5])])


def test_a_different_answer_is_refused_with_both_shown(fake: Generator, tmp_path: Path) -> None:
    with pytest.raises(
        EngineDamaged, match=r"check 2 of 2: found \[5, 6\], expected \[5, 7\]; the engine is not"
    ):
        compare_answers(fake, model(tmp_path, "count 5"), [Check([1], [5]), Check([2], [5, 7])])


def test_a_recorded_answer_ends_with_the_token_that_ends_it(
    fake: Generator, tmp_path: Path
) -> None:
    (check,) = record_answers(fake, model(tmp_path, "count 5"), [[1, 2]], [8, 7])

    assert check == Check([1, 2], [5, 6, 7])


def test_a_recorded_answer_that_does_not_end_is_cut(fake: Generator, tmp_path: Path) -> None:
    (check,) = record_answers(fake, model(tmp_path, "count 5"), [[1, 2]], [])

    assert check.answer_ids == list(range(5, 21))


def test_without_prompts_no_engine_is_run(fake: Generator, tmp_path: Path) -> None:
    assert ask(fake, tmp_path / "none", []) == []


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("crash", "exited with status 3: the model is not to my taste"),
        ("die", "was killed by SIGKILL: no output"),
        ("few", "answered 1 of 2 prompts"),
    ],
)
def test_an_engine_that_cannot_be_run_says_why(
    script: str, sentence: str, fake: Generator, tmp_path: Path
) -> None:
    with pytest.raises(BuildError, match=sentence):
        ask(fake, model(tmp_path, script), [Question([1], 2), Question([1], 2)])


def test_an_engine_that_hangs_is_stopped(fake: Generator, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"did not finish within 0\.2 s"):
        ask(replace(fake, deadline=0.2), model(tmp_path, "hang"), [Question([1], 2)])


def test_a_runtime_without_python_is_named(fake: Generator, tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="cannot start '/nowhere/python'"):
        ask(
            replace(fake, python=Path("/nowhere/python")),
            model(tmp_path, "count 5"),
            [Question([1], 2)],
        )
