"""A model's checkpoint is found where it was shipped or fetched, or the error says how to."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from enginix.catalog.load import ModelSpec, SourceSpec, find_model
from enginix.checkpoint.locate import fetched_directory, find_checkpoint, find_fetched
from enginix.errors import CatalogError, NotACheckpoint

OLD, NEW = "a" * 40, "b" * 40


def spec_with(**source: str) -> ModelSpec:
    return replace(find_model("demo"), name="tiny", source=SourceSpec(**source))


def test_a_shipped_model_is_found_beside_its_catalogue(tmp_path: Path) -> None:
    assert (find_checkpoint(find_model("demo"), tmp_path) / "config.json").is_file()


def test_only_the_pinned_revision_is_used(tmp_path: Path) -> None:
    fetched_directory(tmp_path, "org/tiny", NEW).mkdir(parents=True)
    pinned = spec_with(repo="org/tiny", revision=OLD)
    with pytest.raises(NotACheckpoint, match=r"fetch it with `enginix checkpoint fetch tiny`"):
        find_checkpoint(pinned, tmp_path)
    directory = fetched_directory(tmp_path, "org/tiny", OLD)
    directory.mkdir()
    assert find_checkpoint(pinned, tmp_path) == directory


@pytest.mark.parametrize("revision", [None, "main"])
def test_without_a_commit_the_newest_is_used(tmp_path: Path, revision: str | None) -> None:
    for age, commit in enumerate((NEW, OLD)):
        directory = fetched_directory(tmp_path, "org/tiny", commit)
        directory.mkdir(parents=True)
        os.utime(directory, (1000 - age, 1000 - age))
    fetched_directory(tmp_path, "org/tiny", "c" * 40).with_suffix(".partial").mkdir()
    fetched_directory(tmp_path, "org/tiny-2", "d" * 40).mkdir()
    newest = fetched_directory(tmp_path, "org/tiny", NEW)
    assert find_fetched(tmp_path, "org/tiny", revision) == newest


def test_a_model_that_was_not_fetched_is_not_found(tmp_path: Path) -> None:
    assert find_fetched(tmp_path, "org/tiny", None) is None


def test_a_source_without_a_location_is_an_error_in_the_catalogue(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="expected a repo or a directory"):
        find_checkpoint(spec_with(), tmp_path)
