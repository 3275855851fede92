"""The command itself: help is fast, and an error is one line without a traceback."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from subprocess import PIPE

import pytest

import enginix as enginix_package
from enginix import __version__
from enginix.cli.main import COMMANDS, build_parser, main

PYTHON = Path(enginix_package.__file__).parents[1]


def enginix(
    *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "enginix", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": "", **(env or {})},
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main([*command.split(), "--help"])
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


def test_no_command_prints_the_help_and_is_a_usage_error() -> None:
    done = enginix()
    assert done.returncode == 2
    assert done.stderr.startswith("usage: enginix")
    assert all(f"\n    {command} " in done.stderr for command in COMMANDS if " " not in command)


def helps(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield parser.format_help()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from helps(child)


def options(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.Action]]:
    for action in parser._actions:
        yield parser.prog, action
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from options(child)


def test_the_help_explains_every_option() -> None:
    found = list(options(build_parser(COMMANDS)))
    silent = [
        f"{command} {'/'.join(action.option_strings) or action.metavar}"
        for command, action in found
        if not action.help and not isinstance(action, argparse._SubParsersAction)
    ]
    assert len(found) > 300
    assert silent == []


def test_every_help_fits_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line for text in helps(build_parser(COMMANDS)) for line in text.splitlines()]
    assert len(lines) > 300
    assert [line for line in lines if len(line) > 80] == []


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["modles"], "did you mean models?"),
        (["engine", "biuld"], "did you mean build or rebuild?"),
        (["up", "dmeo"], "did you mean demo?"),
        (["up", "demo-mutli"], "did you mean demo-multi"),
        (["up", "qwen3-32b"], "to serve that model: enginix up --model qwen3-32b"),
        (["up", "--model", "qwen3-32"], "did you mean qwen3-32b"),
        (["engine", "build", "dmeo", "--out=x"], "did you mean demo"),
        (["up", "demo", "--prot=9001"], "did you mean --port"),
        (["engine", "build", "--chekpoint", "x"], "did you mean --checkpoint"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest_ones(arguments: list[str], hint: str) -> None:
    done = enginix(*arguments)
    assert done.returncode in (1, 2)
    assert hint in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["models"], ["list"], ["up", "demo", "--dry-run"], ["engine", "build", "demo", "--out=new"]],
)
def test_every_command_ends_on_a_closed_pipe_as_if_by_sigpipe(
    arguments: list[str], tmp_path: Path
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "enginix", *arguments],
        stdout=writer,
        stderr=PIPE,
        cwd=tmp_path,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["models", "doctor", "list"])
def test_an_encoding_without_our_characters_costs_only_those(command: str) -> None:
    done = enginix(command, env={"PYTHONIOENCODING": "ascii"})
    assert "Traceback" not in done.stderr
    assert done.stdout.isascii()


def test_the_doctor_marks_its_findings_in_ascii_too() -> None:
    marks = {
        line[0] for line in enginix("doctor", env={"PYTHONIOENCODING": "ascii"}).stdout.splitlines()
    }
    assert marks - {" "} <= {"+", "!", "x"}


@pytest.mark.parametrize("arguments", [["up", "demo"], ["setup", "triton-cpu"]])
def test_a_home_that_cannot_be_written_is_one_line_that_says_what_to_do(
    tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "file").touch()
    home = tmp_path / "file" / "home"
    done = enginix(*arguments, env={"ENGINIX_HOME": str(home)})
    assert done.returncode == 1
    assert done.stderr.startswith(f"enginix: {home}")
    assert "Not a directory" in done.stderr
    assert done.stderr.endswith("make it writable, or set ENGINIX_HOME\n")
    assert done.stderr.count("\n") == 1


def test_a_home_whose_parents_cannot_be_made_is_one_line_that_says_what_to_do() -> None:
    done = enginix("setup", "triton-cpu", env={"ENGINIX_HOME": "/proc/nothing/enginix"})
    assert done.returncode == 1
    assert done.stderr.startswith("enginix: /proc/nothing: No such file or directory; ")
    assert done.stderr.endswith("make it writable, or set ENGINIX_HOME\n")


def test_the_doctor_finds_a_home_that_cannot_be_written_red(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = enginix("doctor", "--json", env={"ENGINIX_HOME": str(tmp_path / "file" / "home")})
    red = [each for each in json.loads(done.stdout) if each["level"] == "red"]
    assert [each["subject"] for each in red] == ["disk"]
    assert "cannot be written" in red[0]["found"]
    assert "ENGINIX_HOME" in red[0]["fix"]
    assert done.returncode == 1


@pytest.mark.parametrize("moment", ["enginix.cli.main", "argparse", "rich.console", "httpx"])
def test_ctrl_c_while_modules_are_imported_is_one_line(tmp_path: Path, moment: str) -> None:
    """The import of `moment` sends the process a SIGINT, as Ctrl-C does."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {moment!r}:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupts())\n"
    )
    paths = os.pathsep.join([str(tmp_path), *sys.path[:1], str(PYTHON)])
    done = enginix("status", env={"PYTHONPATH": paths})
    assert (done.returncode, done.stderr) == (130, "\nenginix: interrupted\n")


def test_an_unknown_command_names_the_known_ones() -> None:
    done = enginix("cook")
    assert done.returncode == 2
    assert "models" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["engine", "show", "demo", "more"], ["keys", "add", "a", "b"]]
)
def test_a_word_too_many_is_answered_with_the_usage_of_its_command(arguments: list[str]) -> None:
    done = enginix(*arguments)
    command = f"enginix {' '.join(arguments[:2])}"
    assert done.returncode == 2
    assert done.stderr.startswith(f"usage: {command} ")
    assert done.stderr.endswith(f"{command}: error: unrecognized arguments: {arguments[3]}\n")


def test_the_doctor_writes_a_finding_as_one_line_into_a_pipe(tmp_path: Path) -> None:
    home = tmp_path / ("long-" * 30)
    lines = enginix("doctor", env={"ENGINIX_HOME": str(home)}).stdout.splitlines()
    assert [line for line in lines if "GiB free in" in line and str(home) in line]


def test_the_catalogue_is_a_table() -> None:
    assert "demo" in enginix("models").stdout


def test_a_closed_pipe_ends_the_table_quietly() -> None:
    command = f"{sys.executable} -m enginix models --json | head -c 1"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, bufsize=0
    )
    assert done.stderr == ""
