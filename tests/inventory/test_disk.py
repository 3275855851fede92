"""Bytes are counted as they are stored, and a removal takes what was named and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from enginix.errors import RemovalFailed
from enginix.inventory.disk import measure, remove
from enginix.inventory.leftovers import find_leftovers
from tests.inventory.home import add_engine, add_runtime


def test_a_file_with_two_names_counts_once(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(bytes(5000))
    os.link(tmp_path / "one", tmp_path / "two")
    assert measure(tmp_path).size_bytes == 5000


def test_what_has_not_arrived_yet_does_not_count(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(100_000_000)
    assert measure(tmp_path).size_bytes < 100_000


def test_a_link_counts_as_itself(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(100_000))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "big")
    (tmp_path / "link").symlink_to(tmp_path)
    assert measure(tmp_path / "in").size_bytes == 0
    assert measure(tmp_path / "link").size_bytes < 1000


def test_a_runtime_counts_with_the_files_its_name_leads_to(tmp_path: Path) -> None:
    runtime = add_runtime(tmp_path, "vllm")
    (runtime / "bin" / "vllm").write_bytes(bytes(5000))
    assert measure(runtime).size_bytes > 5000


def test_the_last_use_is_that_of_the_weights(tmp_path: Path) -> None:
    engine = add_engine(tmp_path, "mine")
    os.utime(engine / "model.gguf", (2000, 1000))
    assert measure(engine).last_used == 2000


def test_a_removed_link_leaves_what_it_leads_to(tmp_path: Path) -> None:
    engine = add_engine(tmp_path / "elsewhere", "mine")
    (engine / "link").symlink_to(tmp_path / "elsewhere")
    link = tmp_path / "mine"
    link.symlink_to(engine)

    remove(link)

    assert not os.path.lexists(link)
    assert (engine / "model.gguf").exists()


def test_links_within_what_is_removed_are_not_followed(tmp_path: Path) -> None:
    engine = add_engine(tmp_path, "mine")
    other = add_engine(tmp_path, "other")
    (engine / "link").symlink_to(other)

    remove(engine)

    assert not engine.exists()
    assert (other / "model.gguf").exists()
    assert [path.name for path in (tmp_path / "engines").iterdir()] == ["other"]


def test_a_link_to_a_hidden_directory_of_another_name_is_not_a_runtime(tmp_path: Path) -> None:
    runtime = add_runtime(tmp_path, "vllm")
    other = tmp_path / "runtimes" / "mine"
    other.symlink_to(runtime.readlink())

    remove(other)

    assert (runtime / "pyvenv.cfg").exists()


def test_a_removed_runtime_leaves_neither_name_nor_files(tmp_path: Path) -> None:
    remove(add_runtime(tmp_path, "vllm"))
    assert list((tmp_path / "runtimes").iterdir()) == []


def test_what_cannot_be_removed_is_one_sentence(tmp_path: Path) -> None:
    directory = tmp_path / ("x" * 255)
    directory.mkdir()
    with pytest.raises(RemovalFailed, match=r"x is not removed: .*File name too long"):
        remove(directory)
    assert directory.exists()


# Dies, as by kill -9, where the first file would be removed.
DIES = """
import os, sys
from pathlib import Path
from enginix.inventory.disk import remove
sys.addaudithook(lambda event, _: os._exit(9) if event == "os.remove" else None)
remove(Path(sys.argv[1]))
"""


def test_a_removal_that_is_killed_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    engine = add_engine(tmp_path, "mine")

    done = subprocess.run([sys.executable, "-c", DIES, engine], check=False)

    assert done.returncode == 9
    assert not engine.exists()
    (left,) = find_leftovers(tmp_path)
    assert left.path.name.startswith(".mine.removing-")
    assert (left.path / "model.gguf").exists()
