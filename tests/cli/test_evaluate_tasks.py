"""`enginix evaluate --tasks` runs lm-eval against a server and shows its results."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.scoring_server import ScoringServer, scoring_server

from enginix.accuracy.tasks import read_results
from enginix.cli.main import main
from enginix.errors import TasksFailed

FAKE = Path(__file__).parents[1] / "fakes" / "lm_eval.py"


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the fake lm-eval, which is on PATH."""
    directory = tmp_path / "bin"
    directory.mkdir()
    program = directory / "lm_eval"
    program.write_text(f"#!{sys.executable}\n{FAKE.read_text()}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    return directory


@pytest.fixture
def server() -> Iterator[ScoringServer]:
    with scoring_server() as running:
        yield running


def test_the_results_are_a_table_and_what_lm_eval_prints_is_not_among_them(
    harness: Path,
    server: ScoringServer,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")

    assert main(["evaluate", server.url, "--tasks=capitals", "--tasks-limit=4"]) == 0

    output = capfd.readouterr()
    assert [line.split() for line in output.out.splitlines()] == [
        ["task", "metric", "value", "stderr"],
        ["capitals", "exact_match", "(strict-match)", "0.7500", "0.2500"],
        ["capitals", "exact_match", "1.0000"],
    ]
    assert {"a table", "progress"} <= set(output.err.splitlines())
    asked = json.loads((harness / "asked.json").read_text())
    assert (asked["tasks"], asked["limit"], asked["key"]) == ("capitals", "4", "sk-test")
    assert asked["model"] == "local-completions"
    assert f"base_url={server.url}/v1/completions" in asked["model_args"]
    assert "tokenizer_backend=None" in asked["model_args"]
    assert not Path(asked["output_path"]).exists()


def test_json_has_the_results_and_the_version(
    harness: Path, server: ScoringServer, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", server.url, "--tasks=capitals", "--tokenizer=org/tiny", "--json"]
    assert main(words) == 0

    found = json.loads(capfd.readouterr().out)
    assert (found["model"], found["measured_with"]) == ("tiny", {"lm-eval": "0.4.13"})
    assert [one["value"] for one in found["results"]] == [0.75, 1]
    asked = json.loads((harness / "asked.json").read_text())
    assert "tokenizer_backend=huggingface,tokenizer=org/tiny" in asked["model_args"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nosuch", "lm_eval exited with status 1; its messages above say why"),
        ("nothing", "lm_eval wrote no results; its messages above say why"),
    ],
)
def test_a_failure_of_lm_eval_is_one_sentence(
    name: str, why: str, harness: Path, server: ScoringServer, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", server.url, f"--tasks={name}"]) == 1
    assert capfd.readouterr().err.splitlines()[-1] == f"enginix: {why}"


def test_a_server_that_ignores_echo_is_not_asked_to_choose(
    harness: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with scoring_server(echoes="not at all") as server:
        words = ["evaluate", server.url, "--tasks=hellaswag", "--tokenizer=org/tiny"]
        assert main(words) == 1

    assert "gives no log probabilities of a prompt" in capfd.readouterr().err
    assert not (harness / "asked.json").exists()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["demo", "--tasks=gsm8k"], "serve it (`enginix serve demo`), and name its URL"),
        (["http://h", "--tasks=gsm8k", "--stride=4"], "leave out --stride"),
        (["http://h", "--tasks=gsm8k", "--tasks-dir=none"], "none is not a directory"),
        (["http://h", "--tokenizer=org/tiny"], "--tokenizer is about --tasks"),
    ],
)
def test_a_wrong_command_line_is_status_2(
    arguments: list[str], why: str, harness: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *arguments]) == 2
    assert why in capsys.readouterr().err


def test_without_lm_eval_it_is_said_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    assert main(["evaluate", "http://h", "--tasks=gsm8k"]) == 2
    assert "pip install 'enginix[evaluate]'" in capsys.readouterr().err


@pytest.mark.parametrize("document", [[], {}, {"results": []}, {"results": {"a": []}}])
def test_results_of_another_form_are_refused(document: object) -> None:
    with pytest.raises(TasksFailed, match="wrote other results than expected"):
        read_results(document, "http://h/v1", "tiny")
