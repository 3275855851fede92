"""`enginix logs` shows the servers' logs, follows them, and names the existing ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginix.cli.logs import Followed, find_logs, last_run, show
from enginix.cli.main import main
from enginix.errors import UsageError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("gateway", "triton-demo", "llamacpp-demo-llama"):
        path = tmp_path / "multi" / "20260102-000000-9000" / f"{name}.log"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("server", "stems"),
    [
        (None, ["gateway", "llamacpp-demo-llama", "triton-demo"]),
        ("gateway", ["gateway"]),
        ("demo", ["triton-demo"]),
        ("demo-llama", ["llamacpp-demo-llama"]),
        ("triton-demo", ["triton-demo"]),
    ],
)
def test_a_servers_log_is_found_by_its_models_name(
    home: Path, server: str | None, stems: list[str]
) -> None:
    assert [path.stem for path in find_logs(last_run(home, "multi"), server)] == stems


def test_the_logs_of_all_servers_of_a_model_are_found_by_its_name(home: Path) -> None:
    run = last_run(home, "multi")
    (run / "triton-demo#2.log").touch()
    assert [path.stem for path in find_logs(run, "demo")] == ["triton-demo", "triton-demo#2"]
    assert [path.stem for path in find_logs(run, "demo#2")] == ["triton-demo#2"]


@pytest.mark.parametrize(
    ("profile", "server", "message"),
    [
        ("nope", None, "there are no logs of a profile 'nope'; profiles with logs: multi"),
        ("../multi", None, "there are no logs"),
        ("multi", "vllm", "multi has no log of 'vllm'; it has gateway"),
    ],
)
def test_a_missing_log_names_the_existing_ones(
    home: Path, profile: str, server: str | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        find_logs(last_run(home, profile), server)


def test_lines_are_shown_once_and_only_when_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    followed = Followed(path)
    assert followed.new_lines() == []
    path.write_text("one\ntw")
    assert followed.new_lines() == ["one"]
    path.write_text("one\ntwo\n")
    assert followed.new_lines() == ["two"]


def test_a_rotated_log_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    followed = Followed(path)
    path.write_text("one\ntwo\n")
    followed.new_lines()
    path.write_text("new\n")
    assert followed.new_lines() == ["new"]


@pytest.mark.parametrize(("limit", "shown"), [(0, []), (1, ["two"]), (9, ["one", "two"])])
def test_as_many_of_the_last_lines_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], limit: int, shown: list[str]
) -> None:
    path = tmp_path / "a.log"
    path.write_text("one\ntwo\n")
    show([Followed(path)], 1, limit)
    assert capsys.readouterr().out.splitlines() == [f"a | {line}" for line in shown]


def test_a_negative_number_of_lines_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "-n", "-5"]) == 2
    assert "--lines is -5; expected 0 or more" in capsys.readouterr().err


def test_where_nothing_has_run_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENGINIX_HOME", str(tmp_path))
    monkeypatch.delenv("ENGINIX_URL", raising=False)
    assert main(["logs"]) == 0
    assert capsys.readouterr().err == f"there are no logs in {tmp_path / 'logs'}\n"
