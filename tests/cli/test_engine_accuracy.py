"""`engine build --require-accuracy` builds a good engine, and leaves nothing of a broken one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.made_checkpoint import DEMO, with_wrong_scales

from enginix.chat.tokens import Tokenizer
from enginix.cli.main import main
from enginix.manifest import read_manifest
from enginix.runtimes.runtime import Runtime


@pytest.fixture
def text(tmp_path: Path, evals: list[dict[str, Any]]) -> Path:
    """What the demo model has learned to write: it knows little else."""
    tokenizer = Tokenizer.load(DEMO)
    path = tmp_path / "answers.txt"
    path.write_text("\n".join(tokenizer.decode(one["answer_ids"]) for one in evals[:60]))
    return path


@pytest.mark.triton
def test_a_wrong_scale_is_caught_and_nothing_is_left(
    runtime: Runtime, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bound = ["--require-accuracy=ppl<=40", f"--accuracy-text={text}"]
    checkpoint = with_wrong_scales(DEMO, tmp_path / "wrong")
    before = set(tmp_path.iterdir())

    command = ["engine", "build", f"--checkpoint={checkpoint}", "--name=wrong"]
    assert main([*command, f"--out={tmp_path}/engine", *bound]) == 1

    error = capsys.readouterr().err
    assert "enginix: the engine wrong has perplexity " in error
    assert "on answers.txt, expected at most 40; its scales or weights may be wrong" in error
    assert set(tmp_path.iterdir()) == before

    # The same without the mistake.
    assert main(["engine", "build", "demo", f"--out={tmp_path}/engine", *bound]) == 0

    accuracy = read_manifest(tmp_path / "engine").accuracy
    assert accuracy
    assert accuracy.text == "answers.txt"
    assert accuracy.perplexity < 40
    assert "accuracy perplexity" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--require-accuracy=12"], "as in 'ppl<=12'"),
        (["--accuracy-text=x"], "is about --require-accuracy; add it"),
        (["--require-accuracy=ppl<=9", "--accuracy-text=none"], "the text none cannot be read"),
        (
            ["--require-accuracy=ppl<=9", "--kind=tensorrt-llm"],
            "an engine of the kind tensorrt-llm cannot be run by itself; build it without, serve",
        ),
    ],
)
def test_what_cannot_be_required_is_refused_before_the_build(
    arguments: list[str],
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ENGINIX_RUNTIME_TENSORRT_LLM", "/usr")

    assert main(["engine", "build", "demo", f"--out={tmp_path}/engine", *arguments]) == 2

    assert why in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_missing_runtime_is_an_error_where_an_accuracy_is_required(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ENGINIX_RUNTIME_TRITON_CPU", raising=False)
    monkeypatch.setenv("ENGINIX_HOME", str(tmp_path / "home"))

    command = ["engine", "build", "demo", f"--out={tmp_path}/engine", "--require-accuracy=ppl<=9"]
    assert main(command) == 1

    assert "the runtime triton-cpu is not set up here" in capsys.readouterr().err
    assert not (tmp_path / "engine").exists()
