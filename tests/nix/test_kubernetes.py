"""Kubernetes objects from Nix are those from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from nix.on_this_machine import Nix

from enginix.cli.main import main

pytestmark = pytest.mark.nix


def contents(directory: Path) -> dict[str, str]:
    paths = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_text() for path in paths}


def test_the_objects_of_a_variant_are_what_the_command_renders(nix: Nix, tmp_path: Path) -> None:
    [from_nix] = nix.build("k8s-qwen3-32b-tp4")
    out = tmp_path / "objects"
    assert main(["kubernetes", "render", "qwen3-32b", "--tp=4", f"--out={out}"]) == 0
    assert contents(from_nix) == contents(out)
