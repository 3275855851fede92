"""`enginix bench` refuses an impossible benchmark before it starts, and compares files."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from bench.test_record import LEVEL, made

from enginix.bench import record
from enginix.cli.bench import only_model
from enginix.cli.main import main
from enginix.errors import BackendError, UsageError


def test_without_a_url_the_running_gateway_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENGINIX_URL", "127.0.0.1:9")
    assert main(["bench"]) == 1
    assert capsys.readouterr().err.splitlines()[0] == "gateway: http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--concurrency=0",), "expected a whole number above 0, got '0'"),
        (("--concurrency=1,many",), "got 'many'"),
        (("--rate=-1",), "expected a number above 0, got '-1'"),
        (("--rate=1", "--concurrency=1"), "not allowed with argument"),
    ],
)
def test_an_invalid_load_is_refused(
    arguments: tuple[str, ...], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "http://h", *arguments])
    assert why in capsys.readouterr().err


def test_an_unreachable_server_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "http://127.0.0.1:9"]) == 1
    assert "enginix: no server answers at http://127.0.0.1:9/v1" in capsys.readouterr().err


def test_a_plot_without_matplotlib_is_refused_before_the_measurement(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    assert main(["bench", "http://127.0.0.1:9", "--plot", "x.png"]) == 2
    assert "pip install 'enginix[bench]'" in capsys.readouterr().err


def test_the_only_model_is_the_default() -> None:
    assert only_model(["m"], "url") == "m"
    with pytest.raises(UsageError, match="serves a, b; choose one with --model"):
        only_model(["a", "b"], "url")
    with pytest.raises(BackendError, match="serves no model"):
        only_model([], "url")


def test_two_files_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = tmp_path / "a.json", tmp_path / "b.json"
    one.write_text(record.to_json(made(LEVEL)))
    two.write_text(record.to_json(made(replace(LEVEL, output_tokens_per_second=5000.0))))

    assert main(["bench", "--compare", str(one), str(two)]) == 0

    [row] = [line for line in capsys.readouterr().out.splitlines() if "output tokens/s" in line]
    assert row.split() == ["8", "output", "tokens/s", "2000", "5000", "2.50"]


@pytest.mark.parametrize("option", ["--json", "--warm-up"])
def test_what_cannot_be_done_is_refused_before_the_measurement(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value = {"--json": str(tmp_path / "nowhere" / "a.json"), "--warm-up": "-1"}[option]
    # Nothing answers there: this would be the error of a measurement.
    with suppress(SystemExit):
        assert main(["bench", "http://127.0.0.1:1", f"{option}={value}"]) == 2
    message = capsys.readouterr().err
    assert option in message
    assert "127.0.0.1" not in message
