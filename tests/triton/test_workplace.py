"""A server leaves nothing behind, and what a killed one left is removed by the next."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from enginix.triton.workplace import remove_abandoned, workplace


@pytest.fixture
def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_directory_and_shared_memory_are_gone_afterwards(tmp_path: Path) -> None:
    with workplace(tmp_path) as place:
        (place.directory / "config.pbtxt").touch()
        (tmp_path / f"{place.shm_prefix}1").touch()
    assert not place.directory.exists()
    assert not list(tmp_path.iterdir())


def test_what_a_dead_server_left_is_removed(tmp_path: Path, dead_pid: int) -> None:
    (tmp_path / f"enginix-triton-{dead_pid}-1").touch()
    (tmp_path / f"enginix-triton-{dead_pid}-abc").mkdir()
    remove_abandoned(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_a_living_server_uses_stays(tmp_path: Path) -> None:
    (tmp_path / f"enginix-triton-{os.getpid()}-1").touch()
    remove_abandoned(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_not_ours_stays(tmp_path: Path, dead_pid: int) -> None:
    (tmp_path / f"triton_python_backend_shm_region_{dead_pid}").touch()
    remove_abandoned(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
