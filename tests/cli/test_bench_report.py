"""`enginix bench report` refuses what would fail later, and measures a real gateway."""

from __future__ import annotations

import asyncio
import csv
import os
import signal
import sys
from pathlib import Path

import pytest
from fakes.backend import FakeBackend

from enginix.cli.bench_report import _each
from enginix.cli.main import main
from enginix.errors import UsageError
from tests.gateway.harness import ids, served, server

GONE = "127.0.0.1:9"
SMALL = (
    *("--single=2,4", "--parallel=1,2", "--max-concurrency=4", "--max-tokens=4"),
    *("--runs=2", "--requests=1", "--prompt-tokens=60", "--no-plots"),
)
KNOWN = ("--model=m", "--no-plots")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--slo=fast",), "'fast' is not an objective"),
        (("--gpu=H100",), "expected one of NVIDIA H100 80GB HBM3"),
        (("--names=a,b,c",), "--names: expected one value, or one for each of 2 servers, got 3"),
        (("--names=a,a",), "--names: expected 2 different names"),
        (("--bandwidth=1,2,3",), "--bandwidth: expected one value, or one for each of 2 servers"),
    ],
)
def test_an_impossible_report_is_refused(
    arguments: tuple[str, ...], why: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = f"--out={tmp_path / 'out'}"

    assert main(["bench", "report", GONE, "127.0.0.1:10", *KNOWN, out, *arguments]) == 2
    assert why in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unreachable_server_is_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["bench", "report", GONE, "--no-plots", f"--out={tmp_path / 'out'}"]) == 1
    assert "enginix: no server answers at http://127.0.0.1:9/v1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_plots_without_matplotlib_are_refused_before_the_measurement(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    assert main(["bench", "report", GONE]) == 2
    assert "--no-plots) needs matplotlib" in capsys.readouterr().err


def test_a_report_is_not_mixed_with_other_files(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("")

    assert main(["bench", "report", GONE, *KNOWN, f"--out={tmp_path}"]) == 2
    assert "is not empty; choose another directory, or --force" in capsys.readouterr().err


def test_a_file_in_the_place_of_the_directory_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "thesis.txt"
    file.write_text("")

    assert main(["bench", "report", GONE, *KNOWN, f"--out={file}", "--force"]) == 2
    assert "thesis.txt is a file; expected a directory" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_to_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["bench", "report", GONE, *KNOWN, "--out=/proc/report"]) == 2
    assert "--out /proc/report cannot be written to: " in capsys.readouterr().err


def test_a_scheme_may_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", GONE]) == 1
    assert "no server answers at http://127.0.0.1:9/v1" in capsys.readouterr().err


def test_it_has_its_own_help_and_bench_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, text in (
        (["-v", "bench", "report", "--help"], "enginix bench report [-h] [--out DIR]"),
        (["bench", "--help"], "enginix bench report --help"),
    ):
        with pytest.raises(SystemExit) as exit_info:
            main(arguments)
        assert exit_info.value.code == 0
        assert text in capsys.readouterr().out


def test_one_value_holds_for_all_servers() -> None:
    assert _each("--gpu", None, 2) == [None, None]
    assert _each("--gpu", ["L4"], 2) == ["L4", "L4"]
    assert _each("--gpu", ["L4", "L40"], 2) == ["L4", "L40"]
    with pytest.raises(UsageError, match="--gpu"):
        _each("--gpu", ["L4", "L40"], 3)


async def reporting(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "enginix", "bench", "report", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "ENGINIX_API_KEYS": "", "OPENAI_API_KEY": ""},
    )


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


async def test_two_models_of_a_gateway_are_compared_in_one_run(tmp_path: Path) -> None:
    (tmp_path / "parallel.png").write_text("of another report")
    reply = ids("one two three four five six seven eight")
    models = [served(FakeBackend(reply), name=name, aliases=()) for name in ("a", "b")]
    async with server(*models) as client:
        url = str(client.base_url).removeprefix("http://").rstrip("/")
        child = await reporting(url, *SMALL, "--model=a,b", f"--out={tmp_path}", "--force")
        output, errors = (text.decode() for text in await child.communicate())

    assert child.returncode == 0, errors
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("index.html", "parallel.csv", "report.md", "single_stream.csv")
    ]
    single = rows(tmp_path / "single_stream.csv")
    assert [(row["server"], row["max_tokens"]) for row in single] == [
        *(("a", "2"), ("b", "2"), ("a", "4"), ("b", "4"))
    ]
    for row in single:
        assert (row["requests_ok"], row["requests_failed"], row["runs"]) == ("2", "0", "2")
        assert row["output_tokens_mean"] == row["max_tokens"]
        assert (row["tokens_counted_by"], row["complete"]) == ("usage", "yes")
        assert float(row["prompt_tokens_mean"]) == pytest.approx(60, rel=0.15)
    assert {row["concurrency"] for row in rows(tmp_path / "parallel.csv")} >= {"1", "2"}
    assert "a: " in output
    assert f"report: {tmp_path}/index.html" in output
    assert "single stream, 2 tokens: a " in errors
    page = (tmp_path / "index.html").read_text()
    assert "enginix 0." in page
    assert "Roofline of a: unknown: say which GPUs serve it with --gpu" in page


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
async def test_an_interrupted_report_keeps_what_was_measured(
    number: signal.Signals, status: int, tmp_path: Path
) -> None:
    reply = ids("one two three four five six")
    # Three requests come first that measure nothing; then answers of two tokens end, of four hang.
    backend = FakeBackend(*[reply[:2]] * 3, reply, stops_at=3)
    async with server(served(backend)) as client:
        child = await reporting(str(client.base_url), *SMALL, f"--out={tmp_path}")
        assert child.stderr is not None
        line = await child.stderr.readline()
        await backend.stuck.wait()
        child.send_signal(number)
        output, errors = await child.communicate()

    assert line.startswith(b"single stream, 2 tokens: ")
    assert child.returncode == status
    assert b"the report is incomplete" in output
    assert b"Traceback" not in errors
    assert [row["max_tokens"] for row in rows(tmp_path / "single_stream.csv")] == ["2"]
    assert "**Incomplete: interrupted." in (tmp_path / "report.md").read_text()
