"""`enginix completion`: the scripts, in the shells themselves where those are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from enginix.catalog.load import load_catalog
from enginix.cli.main import COMMANDS
from enginix.serve.profile import profile_names
from tests.cli.terminal import terminal

BASH = """
source "$1"
COMP_WORDS=("${@:2}") COMP_CWORD=$(($# - 2))
_enginix
printf '%s\\n' "${COMPREPLY[@]}"
"""
FISH = "source $argv[1]; complete -C $argv[2] | string split -f1 \\t; true"


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("completion")
    for shell in ("bash", "zsh", "fish"):
        made = subprocess.run(
            [sys.executable, "-m", "enginix", "completion", shell], capture_output=True, check=True
        )
        (directory / shell).write_bytes(made.stdout)
    return directory


def shell(name: str) -> str:
    return shutil.which(name) or pytest.skip(f"{name} is not installed")


def in_bash(scripts: Path, *words: str) -> list[str]:
    argv = [shell("bash"), "-c", BASH, "bash", str(scripts / "bash"), *words]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()


def in_fish(scripts: Path, *words: str) -> list[str]:
    argv = [shell("fish"), "--no-config", "-c", FISH, str(scripts / "fish"), " ".join(words)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=scripts / "..")
    return done.stdout.split()


CASES = [
    (["mo"], ["models"]),
    (["-v", "mo"], ["models"]),
    (["engine", "bu"], ["build"]),
    (["up", "demo-"], ["demo-multi"]),
    (["chat", "llama-3.1"], ["llama-3.1-8b"]),
    (["checkpoint", "inspect", "qwen3-3"], ["qwen3-30b-a3b", "qwen3-32b"]),
    (["up", "--hos"], ["--host"]),
    (["up", "demo", "--dry"], ["--dry-run"]),
    (["engine", "build", "demo", "--kind", "g"], ["gguf"]),
    (["start", "--engine", "vl"], ["vllm"]),
    (["completion", "z"], ["zsh"]),
    (["bench", "rep"], ["report"]),
    (["bench", "report", "--max-c"], ["--max-concurrency"]),
]


@pytest.mark.parametrize(("words", "expected"), CASES)
@pytest.mark.parametrize("complete", [in_bash, in_fish])
def test_a_word_is_completed(
    scripts: Path, complete: object, words: list[str], expected: list[str]
) -> None:
    assert callable(complete)
    assert complete(scripts, "enginix", *words) == expected


@pytest.mark.parametrize("complete", [in_bash, in_fish])
def test_all_commands_and_all_profiles_are_offered(scripts: Path, complete: object) -> None:
    assert callable(complete)
    offered = set(complete(scripts, "enginix", ""))
    assert {command.split()[0] for command in COMMANDS} <= offered
    assert "report" in complete(scripts, "enginix", "bench", "")
    assert "report" not in offered
    assert not load_catalog().keys() & offered
    assert set(profile_names()) <= set(complete(scripts, "enginix", "up", ""))


@pytest.mark.parametrize("command", COMMANDS)
def test_bash_completes_the_options_of_every_command(scripts: Path, command: str) -> None:
    assert in_bash(scripts, "enginix", *command.split(), "--hel") == ["--help"]


def test_bash_completes_a_value_behind_an_equals_sign(scripts: Path) -> None:
    assert in_bash(scripts, "enginix", "engine", "build", "--kind", "=", "g") == ["gguf"]
    assert in_bash(scripts, "enginix", "engine", "build", "--kind", "=") == [
        "edge-llm",
        "gguf",
        "tensorrt-llm",
    ]


def test_bash_leaves_files_to_itself(scripts: Path) -> None:
    assert in_bash(scripts, "enginix", "engine", "build", "--out", "") == []
    assert "-o default" in (scripts / "bash").read_text()


def test_the_bash_script_passes_shellcheck(scripts: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("shellcheck"), "--shell=bash", scripts / "bash"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""


@pytest.mark.parametrize("name", ["bash", "zsh"])
async def test_the_tab_key_completes_in_a_terminal(
    scripts: Path, tmp_path: Path, name: str
) -> None:
    flags = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"]}[name]
    setup = {"bash": "", "zsh": "autoload -U compinit; compinit -u -D; "}[name]
    variables = {**os.environ, "HOME": str(tmp_path)}
    async with terminal([shell(name), *flags, "-i"], variables, tmp_path, columns=200) as shown:
        # Instead of the command: print the line that was completed.
        shown.type(f"{setup}source {scripts / name}; PS1='$ '; enginix() {{ echo \"<$*>\"; }}\r")
        for typed, completed in (
            ("mod", "models"),
            ("up demo-", "up demo-multi"),
            ("engine build --kind=g", "engine build --kind=gguf"),
            ("start --engine vl", "start --engine vllm"),
        ):
            shown.type(f"enginix {typed}\t\r")
            await shown.shows(f"<{completed}>")


def test_an_unknown_shell_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "enginix", "completion", "fsh"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "did you mean fish" in done.stderr
