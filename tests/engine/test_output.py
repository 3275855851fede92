"""An output is complete or absent, whoever else builds and however the build ends."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from enginix.engine.output import new_output, require_space
from enginix.errors import BuildError, OutputExists

MANIFEST = '{"schema_version": 1, "files": {"model.gguf": 3}}'


def build(out: Path, content: str = "new", *, replace: bool = False) -> None:
    with new_output(out, replace=replace) as directory:
        (directory / "model.gguf").write_text(content)
        (directory / "manifest.json").write_text(MANIFEST)


def everything(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_the_output_does_not_exist_before_the_build_ends(tmp_path: Path) -> None:
    with new_output(tmp_path / "out", replace=False):
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out").is_dir()


def test_a_finished_build_leaves_only_its_output(tmp_path: Path) -> None:
    build(tmp_path / "out")

    assert everything(tmp_path) == ["out", "out/manifest.json", "out/model.gguf"]


@pytest.mark.parametrize("error", [BuildError, KeyboardInterrupt, SystemExit])
def test_a_failed_build_leaves_nothing(error: type[BaseException], tmp_path: Path) -> None:
    def fail() -> None:
        with new_output(tmp_path / "a" / "b", replace=False) as directory:
            (directory / "half").write_text("made")
            raise error

    with pytest.raises(error):
        fail()
    assert everything(tmp_path) == []


def test_a_failed_build_leaves_directories_that_were_there(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()

    with suppress(BuildError), new_output(tmp_path / "a" / "b", replace=False):
        raise BuildError

    assert everything(tmp_path) == ["a"]


def test_missing_parents_are_made(tmp_path: Path) -> None:
    build(tmp_path / "a" / "b" / "out")

    assert (tmp_path / "a" / "b" / "out" / "model.gguf").exists()


def test_an_output_that_exists_is_refused(tmp_path: Path) -> None:
    build(tmp_path / "out", "old")

    with pytest.raises(OutputExists, match="exists already; name another --out"):
        build(tmp_path / "out")
    assert (tmp_path / "out" / "model.gguf").read_text() == "old"


def test_a_build_that_waited_for_another_one_is_refused_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as other:
        other.enter_context(new_output(tmp_path / "out", replace=False)).joinpath("a").touch()
        monkeypatch.setattr(time, "sleep", lambda seconds: other.close())
        with pytest.raises(OutputExists), new_output(tmp_path / "out", replace=False):
            pytest.fail("it has begun")


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()

    build(tmp_path / "out")

    assert (tmp_path / "out" / "model.gguf").exists()


def test_a_file_at_the_output_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")

    with pytest.raises(OutputExists):
        build(tmp_path / "out")
    with pytest.raises(BuildError, match="is not a directory; --replace only removes engines"):
        build(tmp_path / "out", replace=True)


def test_an_existing_engine_is_replaced(tmp_path: Path) -> None:
    build(tmp_path / "out", "old")

    build(tmp_path / "out", "new", replace=True)

    assert (tmp_path / "out" / "model.gguf").read_text() == "new"
    assert everything(tmp_path) == ["out", "out/manifest.json", "out/model.gguf"]


def test_an_existing_engine_stays_if_its_replacement_fails(tmp_path: Path) -> None:
    build(tmp_path / "out", "old")

    with suppress(BuildError), new_output(tmp_path / "out", replace=True):
        raise BuildError

    assert (tmp_path / "out" / "model.gguf").read_text() == "old"


def test_a_directory_that_is_no_engine_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter-1").write_text("irreplaceable")

    with pytest.raises(BuildError, match=r"it holds no manifest\.json of an engine"):
        build(tmp_path / "thesis", replace=True)
    assert (tmp_path / "thesis" / "chapter-1").exists()


def test_a_directory_whose_manifest_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out" / "manifest.json")

    with pytest.raises(BuildError, match=r"it holds no manifest\.json of an engine"):
        build(tmp_path / "out", replace=True)


def test_an_engine_with_something_foreign_in_it_is_not_replaced(tmp_path: Path) -> None:
    build(tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("irreplaceable")

    with pytest.raises(BuildError, match=r"it holds notes\.txt, which belongs to no engine"):
        build(tmp_path / "out", replace=True)


def test_leftovers_of_a_killed_build_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".out.building").mkdir()
    (tmp_path / ".out.building" / "half").write_text("made")
    (tmp_path / ".out.lock").touch()

    build(tmp_path / "out")

    assert everything(tmp_path) == ["out", "out/manifest.json", "out/model.gguf"]


def test_a_second_build_of_the_same_output_is_refused_while_the_first_runs(tmp_path: Path) -> None:
    with new_output(tmp_path / "out", replace=False) as directory:
        with pytest.raises(BuildError, match=r"another build of .*out is running"):
            build(tmp_path / "out")
        assert directory.exists()
    assert (tmp_path / "out").exists()


def test_an_output_that_appears_while_it_is_built_is_kept(tmp_path: Path) -> None:
    def build_meanwhile(replace: bool) -> None:
        with new_output(tmp_path / "out", replace=replace):
            (tmp_path / "out").mkdir(exist_ok=True)
            (tmp_path / "out" / "mine").touch()

    with pytest.raises(OutputExists):
        build_meanwhile(replace=False)
    with pytest.raises(BuildError, match="no manifest"):
        build_meanwhile(replace=True)

    assert everything(tmp_path) == ["out", "out/mine"]


def test_a_link_to_an_engine_stays_a_link(tmp_path: Path) -> None:
    build(tmp_path / "v1", "old")
    (tmp_path / "current").symlink_to("v1")

    build(tmp_path / "current", "new", replace=True)

    assert (tmp_path / "current").is_symlink()
    assert (tmp_path / "v1" / "model.gguf").read_text() == "new"


def test_an_output_is_readable_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        build(tmp_path / "out")
    finally:
        os.umask(before)

    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755


def test_more_than_the_disk_has_free_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        BuildError, match=r"the engine takes 1,000,000,000 MB, but the disk of .* has"
    ):
        require_space(tmp_path, 10**15)
