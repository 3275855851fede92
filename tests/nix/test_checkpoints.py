"""Checkpoints as fixed-output derivations, fetched from a hub on this machine."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.hub import Hub, Repo
from nix.on_this_machine import ROOT, Nix

from enginix.checkpoint.nar import nar_hash

pytestmark = pytest.mark.nix

FILES = {"config.json": b'{"architectures": ["TinyForCausalLM"]}', "model.safetensors": b"w" * 999}
WRONG = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub({"org/tiny": Repo(FILES)}) as hub:
        yield hub


@pytest.fixture
def right_hash(tmp_path: Path) -> str:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    return nar_hash(tmp_path)


def fetch(nix: Nix, hub: Hub, hash_: str) -> subprocess.CompletedProcess[str]:
    """Build what a catalogue entry with a locked hash stands for."""
    source = f'{{ repo = "org/tiny"; revision = "{hub.repos["org/tiny"].revision}"; '
    source += f'nar_hash = "{hash_}"; }}'
    overlay = f'(builtins.getFlake "git+file://{ROOT}").overlays.default'
    packages = f"(import {nix.nixpkgs} {{ overlays = [ {overlay} ]; }}).enginixPackages"
    model = f'{{ name = "tiny"; title = "Tiny"; source = {source}; }}'
    with_hub = replace(nix, env={**nix.env, "HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token})
    return with_hub.build_expression(f"{packages}.mkCheckpoint {model}")


def test_a_checkpoint_with_a_locked_hash_is_its_files_and_nothing_else(
    nix: Nix, hub: Hub, right_hash: str
) -> None:
    done = fetch(nix, hub, right_hash)
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    assert {entry.name: entry.read_bytes() for entry in path.iterdir()} == FILES


def test_a_checkpoint_is_named_after_its_revision(nix: Nix, hub: Hub, right_hash: str) -> None:
    assert fetch(nix, hub, right_hash).stdout.strip().endswith("-tiny-checkpoint-01234567")


def test_a_checkpoint_that_is_not_what_was_locked_is_refused(nix: Nix, hub: Hub) -> None:
    done = fetch(nix, hub, WRONG)
    assert done.returncode != 0
    assert "hash mismatch" in done.stderr


def test_the_token_for_a_gated_checkpoint_comes_from_the_caller(
    nix: Nix, hub: Hub, right_hash: str
) -> None:
    hub.repos["org/tiny"].gated = True
    done = fetch(nix, hub, right_hash)
    assert done.returncode == 0, done.stderr
    assert hub.token not in done.stderr
