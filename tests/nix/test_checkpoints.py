"""Checkpoints as fixed-output derivations, fetched from a hub on this machine."""

from __future__ import annotations

import json
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


def fetch(nix: Nix, hub: Hub, hash_: str | None) -> subprocess.CompletedProcess[str]:
    """Build what a catalogue entry with a revision and perhaps a locked hash stands for."""
    lines = [f'revision = "{hub.repos["org/tiny"].revision}";']
    lines += [f'nar_hash = "{hash_}";'] if hash_ else []
    return build(nix, hub, " ".join(lines))


def build(nix: Nix, hub: Hub, pins: str) -> subprocess.CompletedProcess[str]:
    overlay = f'(builtins.getFlake "git+file://{ROOT}").overlays.default'
    packages = f"(import {nix.nixpkgs} {{ overlays = [ {overlay} ]; }}).enginixPackages"
    source = f'{{ repo = "org/tiny"; {pins} }}'
    model = f'{{ name = "tiny"; title = "Tiny"; source = {source}; }}'
    with_hub = replace(nix, env={**nix.env, "HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token})
    # Only a fixed-output derivation gets HF_ENDPOINT from the environment.
    checkpoint = f"{packages}.mkCheckpoint {model}"
    if "nar_hash" not in pins:
        env = f'old.env // {{ HF_ENDPOINT = "{hub.url}"; }}'
        checkpoint = f"({checkpoint}).overrideAttrs (old: {{ env = {env}; }})"
    return with_hub.build_expression(checkpoint)


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


def test_a_checkpoint_that_is_not_pinned_says_so_and_which_commit_it_is(nix: Nix, hub: Hub) -> None:
    done = build(nix, hub, "")
    assert done.returncode == 0, done.stderr
    commit = hub.repos["org/tiny"].revision
    path = Path(done.stdout.strip())
    assert path.name.endswith("-tiny-checkpoint-unpinned")
    assert (
        "has no locked hash: it is fetched outside the sandbox and without HF_TOKEN" in done.stderr
    )
    assert f"org/tiny is not pinned: main of org/tiny is commit {commit} now" in done.stderr
    assert json.loads((path / ".enginix-source.json").read_text())["revision"] == commit


def test_a_revision_without_a_hash_is_fetched_outside_under_its_name(nix: Nix, hub: Hub) -> None:
    done = fetch(nix, hub, None)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("-tiny-checkpoint-01234567")
    assert "has no locked hash" in done.stderr
    assert "is not pinned" not in done.stderr


def test_a_hash_without_a_revision_is_refused(nix: Nix, hub: Hub, right_hash: str) -> None:
    done = build(nix, hub, f'nar_hash = "{right_hash}";')
    assert done.returncode != 0
    assert "nar_hash without a revision; `enginix checkpoint lock` writes both" in done.stderr
