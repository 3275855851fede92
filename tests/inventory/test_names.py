"""A word means one thing that is here, or is refused with what it may mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginix.errors import UsageError
from enginix.inventory.items import take_inventory
from enginix.inventory.names import find_item
from tests.inventory.home import SHORT, add_checkpoint, add_engine, add_runtime


def path_of(word: str, home: Path) -> Path:
    return find_item(word, take_inventory(home), home).path


def test_names_aliases_repositories_and_paths_are_taken(tmp_path: Path) -> None:
    engine = add_engine(tmp_path, "demo")
    checkpoint = add_checkpoint(tmp_path, "org/demo")
    runtime = add_runtime(tmp_path, "vllm-next")

    assert path_of("demo", tmp_path) == engine
    assert path_of("tiny-qwen3", tmp_path) == engine
    assert path_of(str(engine), tmp_path) == engine
    assert path_of("engines/demo", tmp_path) == engine
    assert path_of("org/demo", tmp_path) == checkpoint
    assert path_of(f"org/demo@{SHORT}", tmp_path) == checkpoint
    assert path_of("vllm-next", tmp_path) == runtime


def test_a_catalogue_model_without_an_engine_is_its_checkpoint(tmp_path: Path) -> None:
    checkpoint = add_checkpoint(tmp_path, "nvidia/Qwen3-32B-NVFP4")
    assert path_of("qwen3-32b", tmp_path) == checkpoint


def test_two_commits_of_a_repository_are_told_apart(tmp_path: Path) -> None:
    add_checkpoint(tmp_path, "org/demo")
    add_checkpoint(tmp_path, "org/demo", "f" * 40)
    with pytest.raises(UsageError, match=r"org--demo@0123456789ab or checkpoints/org--demo@ffff"):
        path_of("org/demo", tmp_path)


def test_an_engine_and_a_runtime_of_one_name_are_told_apart(tmp_path: Path) -> None:
    engine = add_engine(tmp_path, "vllm")
    add_runtime(tmp_path, "vllm")
    with pytest.raises(UsageError, match="vllm may be engines/vllm or runtimes/vllm"):
        path_of("vllm", tmp_path)
    assert path_of("engines/vllm", tmp_path) == engine


def test_an_unknown_word_offers_the_nearest(tmp_path: Path) -> None:
    add_engine(tmp_path, "demo")
    with pytest.raises(UsageError, match=r"nothing named 'demmo' is in .*did you mean demo"):
        path_of("demmo", tmp_path)


@pytest.mark.parametrize("word", ["..", ".", "/", "../outside", "engines", ""])
def test_nothing_outside_of_what_is_listed_has_a_name(tmp_path: Path, word: str) -> None:
    add_engine(tmp_path, "demo")
    with pytest.raises(UsageError):
        path_of(word, tmp_path)
