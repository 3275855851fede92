"""`enginix list`, `rm`, `gc`, `ps` and `pull` as people and scripts use them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.hub import Fault, Hub, Repo

from enginix.cli.main import main
from enginix.runtimes.runtime import TRITON_CPU
from tests.inventory.home import (
    COMMIT,
    DEMO,
    SHORT,
    add_checkpoint,
    add_engine,
    add_runtime,
    held,
)

RUNTIME = TRITON_CPU.directory_name


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENGINIX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def out(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_an_empty_home_says_how_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    assert "start with `enginix up demo`" in out(capsys)
    assert main(["ps"]) == 0
    assert "nothing runs" in out(capsys)
    assert main(["gc"]) == 0
    assert "nothing to remove" in out(capsys)


def test_the_list_has_a_line_for_each_and_what_they_have_to_do_with_each_other(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_engine(home, "mine", "org/demo")
    add_checkpoint(home, "org/demo")
    add_runtime(home, RUNTIME, "triton-cpu")

    assert main(["list"]) == 0

    lines = [line.rstrip() for line in out(capsys).splitlines()]
    assert lines[0].split() == [
        "name",
        "what",
        "size",
        "detail",
        "weights",
        "commit",
        "last",
        "use",
    ]
    assert lines[1].split()[:2] == ["mine", "engine"]
    assert lines[1].endswith("gguf              NVFP4    01234567  today")
    assert lines[2].split()[:4] == [f"org/demo@{SHORT}", "checkpoint", "2.6", "MB"]
    assert f"mine: made from org/demo@{SHORT}" in lines
    assert f"org/demo@{SHORT}: is the source of mine" in lines
    assert f"{RUNTIME}: serves mine" in lines


def test_the_list_says_what_could_be_freed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "engines" / ".mine.building").mkdir(parents=True)
    (home / "engines" / ".mine.building" / "model.gguf").write_bytes(bytes(4000))
    assert main(["list"]) == 0
    assert "4.0 kB can be freed: see `enginix gc --dry-run`" in out(capsys)


def test_scripts_get_the_list_as_json(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_engine(home, "mine", "org/demo")
    assert main(["list", "--json"]) == 0
    (found,) = json.loads(out(capsys))
    assert found["path"] == str(home / "engines" / "mine")
    assert (found["what"], found["revision"]) == ("engine", COMMIT)


def test_what_is_removed_is_named_with_its_size(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = add_checkpoint(home, "org/demo")
    assert main(["rm", "org/demo"]) == 0
    assert out(capsys) == f"removed checkpoint org/demo@{SHORT}, 2.6 MB\n"
    assert not checkpoint.exists()


def test_what_an_engine_was_made_from_stays_unless_it_is_forced(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, engine = add_checkpoint(home, "org/demo"), add_engine(home, "mine", "org/demo")

    assert main(["rm", "org/demo"]) == 2
    assert "is the source of mine; remove that too, or pass --force" in (capsys.readouterr().err)
    assert checkpoint.exists()

    assert main(["rm", "org/demo", "--force"]) == 0
    assert not checkpoint.exists()
    assert engine.exists()


def test_an_engine_and_its_checkpoint_go_together(home: Path) -> None:
    add_checkpoint(home, "org/demo")
    add_engine(home, "mine", "org/demo")
    assert main(["rm", "org/demo", "mine"]) == 0
    assert list(home.glob("*/*")) == []


def test_a_runtime_that_serves_an_engine_stays(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_runtime(home, RUNTIME, "triton-cpu")
    add_engine(home, "mine")
    assert main(["rm", RUNTIME]) == 2
    assert f"runtime {RUNTIME} serves mine" in capsys.readouterr().err


def test_what_runs_is_never_removed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = add_engine(home, "mine")
    other = add_engine(home, "other")
    with (
        (engine / "model.gguf").open() as file,
        subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"],
            stdin=subprocess.PIPE,
            pass_fds=[file.fileno()],
        ) as reader,
    ):
        # Neither of the two goes when one of them must stay.
        assert main(["rm", "--force", "other", "mine"]) == 2
        assert f"(process {reader.pid}); stop it first" in capsys.readouterr().err
        assert engine.exists()
        assert other.exists()
    assert main(["rm", "mine", "other"]) == 0


@pytest.mark.parametrize(
    ("name", "lock", "words"),
    [
        ("mine", "engines/.mine.lock", "a build of it runs"),
        ("vllm", "runtimes/.lock", "an `enginix setup` runs"),
        ("org/demo", f"checkpoints/org--demo@{SHORT}/.incomplete/lock", "is being fetched"),
    ],
)
def test_what_is_being_made_is_not_removed(
    home: Path, name: str, lock: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    add_engine(home, "mine")
    add_runtime(home, "vllm")
    add_checkpoint(home, "org/demo")
    with held(home / lock):
        assert main(["rm", name]) == 2
    assert words in capsys.readouterr().err
    assert main(["rm", name]) == 0


def test_a_removal_leaves_no_lock_behind(home: Path) -> None:
    add_engine(home, "mine")
    assert main(["rm", "mine"]) == 0
    assert list((home / "engines").iterdir()) == []


def test_a_directory_outside_is_not_removed(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = add_engine(tmp_path / "elsewhere", "mine")
    assert main(["rm", str(outside)]) == 2
    assert "nothing named" in capsys.readouterr().err
    assert (outside / "model.gguf").exists()


def test_a_dry_run_removes_nothing_and_says_how_much_it_would(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    building = home / "engines" / ".mine.building"
    building.mkdir(parents=True)
    (building / "model.gguf").write_bytes(bytes(4000))

    assert main(["gc", "--dry-run"]) == 0
    assert out(capsys).splitlines() == [
        f"    4.0 kB  {building}: a build that was killed",
        "4.0 kB would be removed; `enginix gc` does it",
    ]
    assert building.exists()

    assert main(["gc", "--json"]) == 0
    found = json.loads(out(capsys))
    assert (found["removed"], found["bytes"]) == (True, 4000)
    assert not building.exists()


def pulling(hub: Hub, home: Path, *names: str) -> subprocess.Popen[str]:
    env = os.environ | {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_good", "ENGINIX_HOME": str(home)}
    command = [sys.executable, "-m", "enginix", "pull", *names]
    return subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_download_is_left_alone_while_it_goes_on_and_found_once_it_was_killed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Hub({"org/demo": Repo({"config.json": b"{}", "model.safetensors": b"x" * 5000})}) as hub:
        hub.break_next("model.safetensors", Fault(silent_after=3000))
        with pulling(hub, home, "org/demo") as child:
            assert hub.fell_silent.wait(30)
            assert main(["gc"]) == 0
            assert "nothing to remove" in out(capsys)
            child.kill()
            child.communicate()
    assert main(["list"]) == 0
    assert "can be freed" in out(capsys)
    assert main(["gc"]) == 0
    assert "an unfinished download; the same `enginix pull` would go on from" in out(capsys)
    assert list((home / "checkpoints").iterdir()) == []


def test_a_pulled_repository_can_be_listed_inspected_and_removed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {path.name: path.read_bytes() for path in DEMO.iterdir()}
    with Hub({"org/demo": Repo(files)}) as hub:
        done = pulling(hub, home, "org/demo", f"org/demo@{COMMIT}", "demo")
        said, errors = done.communicate(timeout=60)

    directory = home / "checkpoints" / f"org--demo@{SHORT}"
    assert done.returncode == 0
    assert said.splitlines()[:2] == [str(directory), str(directory)]
    assert said.splitlines()[2].startswith("demo is shipped with enginix: ")
    assert f"pin it by its name: org/demo@{COMMIT}" in errors
    assert main(["list"]) == 0
    assert f"org/demo@{SHORT}" in out(capsys)
    assert main(["checkpoint", "inspect", f"org/demo@{SHORT}"]) == 0
    assert main(["rm", "org/demo"]) == 0
    assert not directory.exists()
