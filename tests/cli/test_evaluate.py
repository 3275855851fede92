"""`enginix evaluate` measures an engine or a server; its exit status says whether it is within."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
from fakes.made_checkpoint import DEMO
from fakes.scoring_server import scoring_server

from enginix.accuracy.measure import PROMPTS
from enginix.cli.main import main
from enginix.manifest import manifest_hash, read_manifest
from enginix.runtimes.runtime import Runtime

TEXT = "A line of text. " * 20


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def words_of(table: str) -> str:
    return " ".join(table.split())


def test_a_server_within_the_bound_is_a_success(
    text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with scoring_server(logprob=-math.log(8)) as server:
        words = ["evaluate", server.url, f"--text={text}", "--require-accuracy=ppl<=8"]
        assert main(words) == 0

    shown = words_of(capsys.readouterr().out)
    assert "tiny" in shown
    assert "perplexity 8.00" in shown
    assert f"({len(TEXT) - 1} tokens)" in shown


def test_a_server_of_a_short_context_gets_shorter_windows(text: Path) -> None:
    with scoring_server(context=100) as server:
        assert main(["evaluate", server.url, f"--text={text}"]) == 0
        assert main(["evaluate", server.url, f"--text={text}", "--context=100"]) == 2

    assert max(len(body["prompt"]) for body in server.asked) == 99


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
        (["demo", "--max-drop=5"], "are about a --baseline; name one"),
        (["demo", "--baseline=x", "--baseline-model=y"], "a file has only one"),
        (["http://:0"], "is not a server's address"),
        (["http://[::1"], "is not a server's address"),
        (["org/name"], "build --checkpoint org/name --name NAME`, then evaluate NAME"),
        ([str(DEMO)], "is not an engine; build one from a checkpoint first, with `enginix "),
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


def test_the_json_of_a_server_is_the_baseline_of_another(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    with scoring_server(logprob=-math.log(8)) as server:
        assert main(["evaluate", server.url, f"--text={text}", "--json"]) == 0
    baseline = tmp_path / "baseline.json"
    baseline.write_text(capsys.readouterr().out)

    with scoring_server(logprob=-math.log(10)) as worse:
        words = ["evaluate", worse.url, f"--text={text}", f"--baseline={baseline}"]
        assert main([*words, "--max-drop=25.1", "--min-agreement=100"]) == 0
        assert "ratio 1.250 of the baseline's" in words_of(capsys.readouterr().out)
        assert main([*words, "--max-drop=24.9"]) == 1
        assert "its perplexity is 25.0 % higher, allowed are 24.9 %" in capsys.readouterr().err
        assert main([*words, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["comparison"]["perplexity_ratio"] == 1.25


def test_another_server_is_a_baseline_too(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with scoring_server() as one, scoring_server(answers={PROMPTS[0]: "Paris"}) as other:
        words = ["evaluate", one.url, f"--text={text}", f"--baseline={other.url}"]
        assert main([*words, "--min-agreement=90"]) == 1

    # "!" is no beginning of the five tokens of "Paris"; the seven others agree in their only one.
    output = capsys.readouterr()
    assert "58.3 % of its answers are the same, expected at least 90 %" in output.err
    assert "agreement 58.3 % of the answers' tokens" in words_of(output.out)


def test_a_server_without_log_probabilities_is_held_to_its_answers_alone(
    text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with scoring_server() as one, scoring_server(echoes="not at all") as other:
        words = ["evaluate", other.url, f"--text={text}", f"--baseline={one.url}"]
        assert main([*words, "--min-agreement=100"]) == 0
        assert "perplexity not measured" in words_of(capsys.readouterr().out)
        assert main(words) == 1
        assert "gives no log probabilities of a prompt" in capsys.readouterr().err
        assert main([*words, "--min-agreement=100", "--max-drop=5"]) == 1
        assert "was not measured on both sides" in capsys.readouterr().err


def test_a_baseline_that_is_not_comparable_is_refused(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline = tmp_path / "baseline.json"
    with scoring_server() as server:
        assert main(["evaluate", server.url, f"--text={text}", "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        for changes, why in (
            ({"text_sha256": "00" * 32}, "it read text.txt with sha256 000000000000..., expected"),
            ({"tokens_sha256": "00" * 32}, "gives other tokens for text.txt than that of tiny"),
            ({"context": 64, "stride": 32}, "add --context 64 --stride 32"),
            ({"answers": []}, "it answered other prompts"),
            ({"schema_version": 7}, "has schema version 7, not 1"),
            ({"accuracy": document["accuracy"] | {"perplexity": 0}}, "a number of at least 1"),
            ({"model": 5}, "model: expected a string, got 5"),
        ):
            baseline.write_text(json.dumps(document | changes))
            words = ["evaluate", server.url, f"--text={text}", f"--baseline={baseline}"]
            assert main(words) == 2
            assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[]", "has schema version None"),
        ("not JSON", "is not JSON"),
        (None, "there is no file"),
    ],
)
def test_a_baseline_that_is_none_is_refused(
    content: str | None, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline = tmp_path / "baseline.json"
    if content is not None:
        baseline.write_text(content)
    assert main(["evaluate", "demo", f"--baseline={baseline}"]) == 2
    assert why in capsys.readouterr().err


def test_a_baseline_that_is_not_reachable_is_one_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["evaluate", "demo", "--baseline=http://127.0.0.1:9"]) == 1
    assert "no server answers at http://127.0.0.1:9" in capsys.readouterr().err


@pytest.fixture
def engine(demo_engine: Path, tmp_path: Path) -> Path:
    """One that may change."""
    return Path(shutil.copytree(demo_engine, tmp_path / "engines" / "demo"))


@pytest.mark.triton
def test_an_engine_is_measured_in_its_runtime_and_its_manifest_records_it(
    runtime: Runtime,
    engine: Path,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ENGINIX_RUNTIME_TRITON_CPU", str(runtime.root))
    monkeypatch.setenv("ENGINIX_HOME", str(tmp_path))
    before = manifest_hash(engine)

    assert main(["evaluate", "demo", f"--text={text}", "--json"]) == 0

    output = capsys.readouterr()
    found = json.loads(output.out)
    accuracy = found["accuracy"]
    assert (found["model"], found["target"]) == ("demo", str(engine))
    # A sentence that repeats is easy for any model that works.
    assert 1 < accuracy["perplexity"] < 100
    assert (accuracy["context"], accuracy["stride"]) == (512, 256)
    assert accuracy["measured_with"].keys() == {"enginix", "llama.cpp"}
    assert f"recorded in {engine}/manifest.json" in output.err
    assert manifest_hash(engine) == before
    assert main(["engine", "verify", str(engine)]) == 0
    assert main(["engine", "show", str(engine)]) == 0
    line = f"perplexity {accuracy['perplexity']:,.2f} on text.txt"
    assert line in words_of(capsys.readouterr().out)
    assert main(["models"]) == 0
    assert f"demo, built here: {line}" in words_of(capsys.readouterr().out)


@pytest.mark.triton
def test_the_result_of_a_read_only_engine_is_shown_and_not_recorded(
    runtime: Runtime, engine: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.chmod(0o555)
    try:
        assert main(["evaluate", str(engine), f"--text={text}"]) == 0
    finally:
        engine.chmod(0o755)

    output = capsys.readouterr()
    assert "perplexity" in output.out
    assert f"not recorded in the manifest: {engine} is read-only" in output.err
    assert read_manifest(engine).accuracy is None
