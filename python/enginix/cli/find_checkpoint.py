"""Finds a command's checkpoint: a directory, a fetched repository, or a catalogue model."""

from __future__ import annotations

import re
from pathlib import Path

from enginix.catalog.load import find_model
from enginix.checkpoint.locate import fetched_directory, find_checkpoint, find_fetched
from enginix.cli.environment import cache_home
from enginix.errors import ModelUnknown, NotACheckpoint

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@.+)?")


def split_revision(word: str) -> tuple[str, str | None]:
    """Split `org/name@revision`; the revision is None if absent."""
    repo, _, revision = word.partition("@")
    return repo, revision or None


def find_checkpoint_directory(word: str) -> Path:
    """A directory comes first; `org/name` is the commit that was fetched last.

    NotACheckpoint says how to get one that is not on this machine.
    """
    path = Path(word)
    if path.is_dir():
        return path
    if "/" not in word:
        return _of_model(word)
    if not REPOSITORY.fullmatch(word):
        # The caller that opens it reports that it does not exist.
        return path
    repo, revision = split_revision(word)
    if revision is None:
        found = find_fetched(cache_home(), repo, None)
    else:
        directory = fetched_directory(cache_home(), repo, revision)
        found = directory if directory.is_dir() else None
    if found is None:
        raise NotACheckpoint(
            f"{word} is neither a directory nor fetched to this machine; get it with "
            f"`enginix pull {word}`"
        )
    return found


def _of_model(word: str) -> Path:
    try:
        spec = find_model(word)
    except ModelUnknown as error:
        raise NotACheckpoint(f"there is no directory {word!r}, and {error}") from None
    return find_checkpoint(spec, cache_home())
