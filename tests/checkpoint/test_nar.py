"""Our NAR hash equals Nix's."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginix.catalog.load import DIRECTORY
from enginix.checkpoint.nar import NarHash, nar_hash, nar_order
from enginix.errors import CheckpointError

NIX = shutil.which("nix")

# What `nix hash path` of Nix 2.26 printed for them.
HELLO = "sha256-HDfQGvQL4ugGkd48w99EN3ppmvuxfGjwgJZLL9Bx/BM="
TREE = "sha256-uPXeCG5Of2hq2KCSeayuz0CtokSYF9UJL25UVHJL5uc="


def write_tree(root: Path) -> Path:
    (root / "empty").mkdir(parents=True)
    (root / "b").write_bytes(b"")
    (root / "B").write_bytes(b"12345678")
    (root / "a.txt").write_bytes(b"1234567")
    (root / "é").write_bytes(b"x" * 3_000_001)
    (root / "tool").write_bytes(b"#!/bin/sh\n")
    (root / "tool").chmod(0o755)
    (root / "link").symlink_to("a.txt")
    (root / "dangling").symlink_to("/nowhere/at all")
    (root / "empty" / "deep").mkdir()
    (root / "empty" / "deep" / "file").write_bytes(bytes(9))
    return root


def test_a_file_has_the_hash_that_nix_gave_it(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("hello\n")
    assert nar_hash(tmp_path / "f") == HELLO


def test_a_tree_has_the_hash_that_nix_gave_it(tmp_path: Path) -> None:
    assert nar_hash(write_tree(tmp_path / "tree")) == TREE


def test_times_and_other_users_permissions_do_not_matter(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "tree")
    before = nar_hash(root)
    os.utime(root / "B", (1, 1))
    (root / "B").chmod(0o600)
    assert nar_hash(root) == before


def test_a_file_that_nix_cannot_store_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "socket"))
        with pytest.raises(CheckpointError, match="is not a file, directory or link"):
            nar_hash(tmp_path)


def test_a_missing_directory_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        nar_hash(tmp_path / "nowhere")


@pytest.mark.nix
@pytest.mark.skipif(NIX is None, reason="nix is not on PATH")
@pytest.mark.parametrize("tree", ["demo", "made"])
def test_nix_on_this_machine_agrees(tmp_path: Path, tree: str) -> None:
    assert NIX is not None
    root = DIRECTORY / "checkpoints/demo" if tree == "demo" else write_tree(tmp_path / "tree")
    command = [NIX, "--extra-experimental-features", "nix-command", "hash", "path", str(root)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert nar_hash(root) == done.stdout.strip()


PARTS = st.text("aB-.é", min_size=1, max_size=3).filter(lambda part: part not in (".", ".."))
NAMES = st.sets(st.lists(PARTS, min_size=1, max_size=4).map("/".join), min_size=1, max_size=12)


@given(NAMES)
def test_files_that_come_one_by_one_have_the_directorys_hash(names: set[str]) -> None:
    files = {name for name in names if not any(other.startswith(f"{name}/") for other in names)}
    with tempfile.TemporaryDirectory() as directory:
        nar = NarHash()
        for name in sorted(files, key=nar_order):
            path = Path(directory, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
            nar.add(name, path)
        assert nar.text() == nar_hash(Path(directory))


def test_files_in_another_order_have_another_hash(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    nar = NarHash()
    nar.add("b", tmp_path / "file")
    with pytest.raises(ValueError, match="a comes after"):
        nar.add("a", tmp_path / "file")


def test_ignored_names_do_not_change_the_hash(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "tree")
    (root / ".note").write_text("where it is from")
    assert nar_hash(root, without={".note"}) == TREE
