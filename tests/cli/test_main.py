"""The command itself: help is fast, and an error is one line without a traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

from enginix import __version__
from enginix.cli.main import COMMANDS, main


def enginix(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "enginix", *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main([command, "--help"])
    assert exit_info.value.code == 0
    assert f"enginix {command}" in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from enginix.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'grpc', 'fastapi', 'rich', 'asyncio'}\n"
        "sys.exit(str(sorted(heavy & sys.modules.keys())))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"


def test_the_version_is_printed() -> None:
    assert enginix("--version").stdout == f"enginix {__version__}\n"


def test_no_command_is_a_usage_error() -> None:
    assert enginix().returncode == 2


def test_an_unknown_command_names_the_known_ones() -> None:
    done = enginix("cook")
    assert done.returncode == 2
    assert "models" in done.stderr


def test_the_catalogue_is_a_table() -> None:
    assert "demo" in enginix("models").stdout


def test_a_closed_pipe_ends_the_table_quietly() -> None:
    command = f"{sys.executable} -m enginix models --json | head -c 1"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, bufsize=0
    )
    assert done.stderr == ""
