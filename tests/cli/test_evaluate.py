"""`enginix evaluate` measures an engine or a server; its exit status says whether it is within."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from fakes.made_checkpoint import DEMO
from fakes.scoring_server import scoring_server

from enginix.cli.main import main
from enginix.runtimes.runtime import Runtime

TEXT = "A line of text. " * 20


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def test_a_server_within_the_bound_is_a_success(
    text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with scoring_server(logprob=-math.log(8)) as server:
        words = ["evaluate", server.url, f"--text={text}", "--require-accuracy=ppl<=8"]
        assert main(words) == 0

    shown = capsys.readouterr().out
    assert "tiny" in shown
    assert "perplexity     8.00" in shown
    assert f"{len(TEXT) - 1} tokens" in shown


def test_a_server_beyond_the_bound_is_a_failure_after_its_result(
    text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with scoring_server(logprob=-math.log(8)) as server:
        words = ["evaluate", server.url, f"--text={text}", "--require-accuracy=ppl<=7.9", "--json"]
        assert main(words) == 1

    output = capsys.readouterr()
    assert json.loads(output.out)["accuracy"]["perplexity"] == 8
    assert "has perplexity 8.00 on text.txt, expected at most 7.9" in output.err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["demo", "--require-accuracy=12"], "as in 'ppl<=12'"),
        (["demo", "--text=no-such-file"], "no-such-file cannot be read: No such file"),
        (["demo", "--model=demo"], "an engine has only one, leave it out"),
        (["http://:0"], "is not a server's address"),
        ([str(DEMO)], "is a checkpoint, which nothing runs yet; build it first with `enginix "),
    ],
)
def test_a_wrong_command_line_is_status_2(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *arguments]) == 2
    assert why in capsys.readouterr().err


def test_a_model_that_is_not_built_says_how_to_build_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENGINIX_HOME", str(tmp_path))
    assert main(["evaluate", "qwen3-32b"]) == 1
    assert "enginix engine build qwen3-32b" in capsys.readouterr().err


@pytest.mark.triton
def test_an_engine_is_measured_in_its_runtime(
    runtime: Runtime, demo_engine: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(demo_engine), f"--text={text}", "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    accuracy = found["accuracy"]
    assert (found["model"], found["target"]) == ("demo", str(demo_engine))
    # A sentence that repeats is easy for any model that works.
    assert 1 < accuracy["perplexity"] < 100
    assert (accuracy["context"], accuracy["stride"]) == (512, 256)
    assert accuracy["measured_with"].keys() == {"enginix", "llama.cpp"}
