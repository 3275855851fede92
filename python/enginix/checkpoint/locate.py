"""Where a catalogue model's checkpoint lies: shipped beside the catalogue, or fetched."""

from __future__ import annotations

from pathlib import Path

from enginix.catalog.load import ModelSpec, SourceSpec
from enginix.errors import CatalogError, NotACheckpoint


def checkpoint_home(home: Path) -> Path:
    return home / "checkpoints"


def fetched_directory(home: Path, repo: str, revision: str) -> Path:
    """Where `enginix checkpoint fetch` puts a repository's files unless told otherwise."""
    return checkpoint_home(home) / f"{repo.replace('/', '--')}@{revision[:12]}"


def find_checkpoint(spec: ModelSpec, home: Path) -> Path:
    """The directory of a model's checkpoint; NotACheckpoint says how to get it."""
    source = spec.source
    if source.directory is not None:
        return source.directory
    if source.repo is None:
        raise CatalogError(f"{spec.name}: source: expected a repo or a directory, got neither")
    if found := find_fetched(home, source):
        return found
    raise NotACheckpoint(
        f"the checkpoint of {spec.name}, {source.repo}, is not on this machine; get it with "
        f"`enginix checkpoint fetch {spec.name}`"
    )


def find_fetched(home: Path, source: SourceSpec) -> Path | None:
    """Where `enginix checkpoint fetch` has put a repository, if it has."""
    return next((path for path in _fetched(home, source) if path.is_dir()), None)


def _fetched(home: Path, source: SourceSpec) -> list[Path]:
    assert source.repo is not None
    if source.revision is not None:
        return [fetched_directory(home, source.repo, source.revision)]
    # Without a pinned revision the newest that was fetched is meant.
    prefix = f"{source.repo.replace('/', '--')}@"
    found = [
        path
        for path in checkpoint_home(home).glob("*@*")
        if path.name.startswith(prefix) and not path.name.endswith(".partial")
    ]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)
