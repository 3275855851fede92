"""A server removes all its files, which share one name everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginix.triton.server.scratch_dir import backend_directories, new_scratch_dir, usable_temporary


def test_directory_and_shared_memory_are_removed_afterwards(tmp_path: Path) -> None:
    temporary, memory = tmp_path / "tmp", tmp_path / "shm"
    temporary.mkdir()
    memory.mkdir()
    with new_scratch_dir(temporary, memory) as place:
        (place.directory / "config.pbtxt").touch()
        (memory / f"{place.shm_prefix}1").touch()
    assert not list(temporary.iterdir())
    assert not list(memory.iterdir())


def test_a_directory_is_only_its_users(tmp_path: Path) -> None:
    with new_scratch_dir(tmp_path, tmp_path) as place:
        assert place.directory.stat().st_mode & 0o077 == 0


def test_the_directory_that_a_server_has_made_for_itself_goes_with_it(tmp_path: Path) -> None:
    (tmp_path / "python_env_before").mkdir()
    with new_scratch_dir(tmp_path, tmp_path) as place:
        before = backend_directories(tmp_path)
        (tmp_path / "python_env_ours").mkdir()
        place.own_new(before, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["python_env_before"]


def test_directories_of_two_servers_that_start_together_are_not_adopted(tmp_path: Path) -> None:
    with new_scratch_dir(tmp_path, tmp_path) as place:
        before = backend_directories(tmp_path)
        (tmp_path / "python_env_ours").mkdir()
        (tmp_path / "python_env_another's").mkdir()
        place.own_new(before, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_of_two_servers_that_begin_one_after_the_other_each_takes_its_own(tmp_path: Path) -> None:
    with (
        new_scratch_dir(tmp_path, tmp_path) as first,
        new_scratch_dir(tmp_path, tmp_path) as second,
    ):
        before = backend_directories(tmp_path)
        (tmp_path / "python_env_first").mkdir()
        first.own_new(before, tmp_path)
        (tmp_path / "python_env_second").mkdir()
        first.own_new(before, tmp_path)
        second.own_new(before, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["my engine", "engine-5"])
def test_an_engine_with_an_ascii_name_keeps_it(tmp_path: Path, name: str) -> None:
    with new_scratch_dir(tmp_path, tmp_path) as scratch:
        assert scratch.plain_name(tmp_path / name) == tmp_path / name


def test_an_engine_with_another_name_gets_one_in_ascii(tmp_path: Path) -> None:
    engine = tmp_path / "moteur é"
    engine.mkdir()
    (engine / "model.gguf").touch()
    with new_scratch_dir(tmp_path, tmp_path) as scratch:
        plain = scratch.plain_name(engine)
        assert str(plain).isascii()
        assert plain.resolve() == engine
    assert [path.name for path in engine.iterdir()] == ["model.gguf"]


@pytest.mark.parametrize("chosen", ["/var/tmp", "/run/user/1000/x-1.5+2@3"])
def test_files_are_where_the_user_wants_temporary_ones(chosen: str) -> None:
    assert usable_temporary(chosen) == Path(chosen)


@pytest.mark.parametrize("chosen", ["/home/a b/tmp", "/home/é/tmp", "/tmp/$x", "/tmp/'"])
def test_files_are_where_triton_can_start_models_from(chosen: str) -> None:
    assert usable_temporary(chosen) == Path("/tmp")
