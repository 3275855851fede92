"""Locking writes two values and keeps every other byte of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginix.catalog.load import DIRECTORY, load_model
from enginix.catalog.lock import lock_source, with_lock
from enginix.errors import CatalogError

REVISION = "0123456789abcdef0123456789abcdef01234567"
HASH = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

FRESH = """\
# A model.
title = "Tiny"  # its title

[source]
repo = "org/tiny"   # at the hub

[variants.tp1]
tensor_parallel = 1
"""

LOCKED = f"""\
# A model.
title = "Tiny"  # its title

[source]
repo = "org/tiny"   # at the hub
revision = "{REVISION}"
nar_hash = "{HASH}"

[variants.tp1]
tensor_parallel = 1
"""


def test_both_keys_are_added_after_the_repository() -> None:
    assert with_lock(FRESH, REVISION, HASH) == LOCKED


def test_locking_again_replaces_the_values_and_keeps_comments() -> None:
    old = LOCKED.replace(f'"{REVISION}"', "'old'  # of May").replace(HASH, "older")
    assert with_lock(old, REVISION, HASH) == LOCKED.replace(
        f'"{REVISION}"', f'"{REVISION}"  # of May'
    )


def test_a_source_at_the_end_of_the_file_is_locked() -> None:
    assert with_lock('[source]\nrepo = "a/b"\n', "r", "h").endswith(
        'repo = "a/b"\nrevision = "r"\nnar_hash = "h"\n'
    )


def test_without_a_hash_the_old_one_goes() -> None:
    without = LOCKED.replace(f'nar_hash = "{HASH}"\n', "")
    assert with_lock(LOCKED, REVISION, None) == without
    assert with_lock(FRESH, REVISION, None) == without


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(FRESH)
    (tmp_path / ".tiny.toml.partial").mkdir()
    with pytest.raises(CatalogError, match="cannot be written"):
        lock_source(path, REVISION, HASH)
    assert path.read_text() == FRESH


def test_a_locked_file_is_a_catalogue_file(tmp_path: Path) -> None:
    text = (DIRECTORY / "demo.toml").read_text()
    path = tmp_path / "tiny.toml"
    path.write_text(text.replace('directory = "checkpoints/demo"', 'repo = "org/tiny"'))
    lock_source(path, REVISION, HASH)
    source = load_model(path).source
    assert (source.repo, source.revision, source.nar_hash) == ("org/tiny", REVISION, HASH)
    assert [each.name for each in tmp_path.iterdir()] == ["tiny.toml"]


def test_a_file_without_a_source_table_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text('title = "x"\n')
    with pytest.raises(CatalogError, match=r"expected a table \[source\]"):
        lock_source(path, REVISION, HASH)


@pytest.mark.parametrize(
    "text",
    [
        '[source]\nrepo = """\n[x]\nrevision = "no"\n"""\n',
        '[source]\nrepo = "a/b"\n"revision" = "quoted"\n',
    ],
)
def test_a_file_that_cannot_be_edited_as_text_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(text)
    with pytest.raises(CatalogError):
        lock_source(path, REVISION, HASH)
    assert path.read_text() == text


def test_a_file_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="lock in a checkout of enginix"):
        lock_source(tmp_path / "nowhere.toml", REVISION, HASH)
