"""What docs/team.md tells people to copy: the compose file and the command lines."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from enginix.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
TEAM = ROOT / "tools" / "team"
PAGE = (ROOT / "docs" / "team.md").read_text(encoding="utf-8")


def accepted(words: list[str]) -> bool:
    """Whether the subcommand takes these arguments; SystemExit if it does not."""
    program, command, *arguments = words
    assert program.rpartition("/")[2] == "enginix"
    assert command in COMMANDS
    parser = argparse.ArgumentParser()
    importlib.import_module(f"enginix.cli.{command}").add_arguments(parser)
    parser.parse_args(arguments)
    return True


def compose() -> Any:
    return yaml.safe_load((TEAM / "compose.yaml").read_text(encoding="utf-8"))


def test_the_command_lines_are_taken() -> None:
    service = compose()["services"]["enginix"]
    assert accepted(service["command"])
    assert service["healthcheck"]["test"][0] == "CMD"
    assert accepted(service["healthcheck"]["test"][1:])


def test_the_commands_of_the_page_are_taken() -> None:
    lines = re.findall(r"^    (enginix .*?)(?:  +#.*)?$", PAGE, re.MULTILINE)
    assert len(lines) >= 3
    assert all(accepted(shlex.split(line)) for line in lines)


def test_the_compose_file_names_files_and_volumes_that_exist() -> None:
    whole = compose()
    service = whole["services"]["enginix"]
    context = (TEAM / service["build"]["context"]).resolve()
    assert context == ROOT
    dockerfile = context / service["build"]["dockerfile"]
    copied = re.findall(r"^COPY (?:--\S+ )?(\S+) ", dockerfile.read_text(), re.MULTILINE)
    assert copied == ["python", "triton-repo"]
    assert all((context / each).is_dir() for each in copied)
    assert {each.partition(":")[0] for each in service["volumes"]} == set(whole["volumes"])
    assert set(service["secrets"]) == set(whole["secrets"])
    assert f"/run/secrets/{service['secrets'][0]}" in service["command"]


def test_the_image_has_the_packages_that_the_readme_names() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (named,) = re.findall(r"`apt install (git [^`]*)`", readme)
    installed = (TEAM / "Dockerfile").read_text(encoding="utf-8").split()
    assert set(named.split()) - {"git", "make"} <= set(installed)
