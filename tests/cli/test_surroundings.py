"""Where streams are closed, disks are full or users have no home: one line, and nothing is left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from subprocess import PIPE

import pytest

from enginix.cli.main import main
from tests.cli.test_main import enginix


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_standard_stream_that_is_closed_changes_nothing_else(tmp_path: Path, closed: str) -> None:
    out = tmp_path / "engine"
    command = f"{sys.executable} -m enginix engine build demo --out={out} {closed}"
    # Without a runtime no answers are recorded: the build ends with that, after its other stages.
    env = {**os.environ, "ENGINIX_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        ["bash", "-c", command], env=env, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert (
        done.returncode == enginix("engine", "build", "demo", f"--out={out}2", env=env).returncode
    )


@pytest.mark.parametrize("argument", ["models", "--help"])
def test_a_full_standard_output_is_one_line(argument: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "enginix", argument],
            stdout=full,
            stderr=PIPE,
            check=False,
            env={**os.environ, "PYTHONUNBUFFERED": ""},
        )
    expected = b"enginix: standard output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, expected)


@pytest.mark.parametrize(
    "command",
    [
        "keys add alice --file {out}.toml",
        "kubernetes render demo --out {out}",
        "repository render {engine} --out {out}",
        "grafana render --out {out}",
    ],
)
def test_what_cannot_be_written_is_named_and_leaves_nothing(
    command: str, demo_engine: Path, tmp_path: Path
) -> None:
    words = command.format(out=tmp_path / "out", engine=demo_engine)
    # A limit of no bytes for a file is as good as a full disk.
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 0; exec {sys.executable} -m enginix {words}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"{tmp_path / 'out'}" in done.stderr
    assert done.stderr.endswith(" cannot be written: File too large\n")
    assert list(tmp_path.iterdir()) == []


def test_a_repository_that_exists_is_not_offered_an_option_that_does_not(
    demo_engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["repository", "render", str(demo_engine), "--out", str(tmp_path)]) == 2
    assert "exists; name a new directory, or remove this one" in capsys.readouterr().err


WITHOUT_HOME = """
import os, pwd, sys
def unknown(uid): raise KeyError(uid)
pwd.getpwuid = unknown
for name in ("HOME", "XDG_CACHE_HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
    os.environ.pop(name, None)
from enginix.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def without_home(
    command: str, home: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The command for a user that only a container knows."""
    env = {name: text for name, text in os.environ.items() if name != "ENGINIX_HOME"}
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_HOME, command],
        env={**env, **(home or {})},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_user_without_a_home_is_told_to_set_one() -> None:
    done = without_home("list")
    message = f"enginix: HOME is not set, and user {os.getuid()} has no home directory; set HOME\n"
    assert (done.returncode, done.stderr) == (1, message)


def test_the_doctor_needs_no_name_of_the_user(tmp_path: Path) -> None:
    done = without_home("doctor", {"ENGINIX_HOME": str(tmp_path), "HF_HOME": str(tmp_path)})
    assert done.stderr == ""
    assert "nix" in done.stdout
