"""Finds the item of the inventory that a word means."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from enginix.catalog.load import find_model
from enginix.errors import ModelUnknown, UsageError
from enginix.inventory.items import Item


def find_item(word: str, items: Sequence[Item], home: Path) -> Item:
    """Find it by name, by `org/name` if one commit is here, by catalogue model, or by path.

    A catalogue model means its engine, else its checkpoint. UsageError offers the nearest names.
    """
    for found in (
        [item for item in items if item.path in (Path(word).expanduser(), home / word)],
        [item for item in items if item.name == word],
        _of_repository(word, items),
        _of_model(word, items),
    ):
        if len(found) == 1:
            return found[0]
        if found:
            ids = " or ".join(str(item.path.relative_to(home)) for item in found)
            raise UsageError(f"{word} may be {ids}; name one of them")
    known = sorted({item.name for item in items})
    near = get_close_matches(word, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "`enginix list` shows what is here"
    raise UsageError(f"nothing named {word!r} is in {home}; {hint}")


def _of_model(word: str, items: Sequence[Item]) -> list[Item]:
    try:
        spec = find_model(word)
    except ModelUnknown:
        return []
    engines = [item for item in items if item.what == "engine" and item.name == spec.name]
    return engines or (_of_repository(spec.source.repo, items) if spec.source.repo else [])


def _of_repository(repo: str, items: Sequence[Item]) -> list[Item]:
    return [item for item in items if item.what == "checkpoint" and item.repo == repo]
