"""A server leaves nothing behind, and its files are known by the same name everywhere."""

from __future__ import annotations

from pathlib import Path

from enginix.triton.workplace import workplace


def test_directory_and_shared_memory_are_gone_afterwards(tmp_path: Path) -> None:
    temporary, memory = tmp_path / "tmp", tmp_path / "shm"
    temporary.mkdir()
    memory.mkdir()
    with workplace(temporary, memory) as place:
        (place.directory / "config.pbtxt").touch()
        (memory / f"{place.shm_prefix}1").touch()
    assert not list(temporary.iterdir())
    assert not list(memory.iterdir())


def test_a_directory_is_only_its_users(tmp_path: Path) -> None:
    with workplace(tmp_path, tmp_path) as place:
        assert place.directory.stat().st_mode & 0o077 == 0
