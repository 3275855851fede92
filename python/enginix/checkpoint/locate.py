"""Finds a catalogue model's checkpoint: shipped beside the catalogue, or fetched."""

from __future__ import annotations

from pathlib import Path

from enginix.catalog.load import ModelSpec, is_commit
from enginix.errors import CatalogError, NotACheckpoint


def checkpoint_home(home: Path) -> Path:
    return home / "checkpoints"


def fetched_directory(home: Path, repo: str, revision: str) -> Path:
    """Where `enginix checkpoint fetch` puts a repository's files by default."""
    return checkpoint_home(home) / f"{repo.replace('/', '--')}@{revision[:12]}"


def find_checkpoint(spec: ModelSpec, home: Path) -> Path:
    """The directory of a model's checkpoint; NotACheckpoint says how to get it."""
    source = spec.source
    if source.directory is not None:
        return source.directory
    if source.repo is None:
        raise CatalogError(f"{spec.name}: source: expected a repo or a directory, got neither")
    directory = find_fetched(home, source.repo, source.revision)
    if directory is None:
        raise NotACheckpoint(
            f"the checkpoint of {spec.name}, {source.repo}, is not on this machine; fetch it with "
            f"`enginix checkpoint fetch {spec.name}`"
        )
    return directory


def find_fetched(home: Path, repo: str, revision: str | None) -> Path | None:
    """The directory of a repository's files at that commit; the newest if no commit is named."""
    if revision is not None and is_commit(revision):
        directory = fetched_directory(home, repo, revision)
        return directory if directory.is_dir() else None
    prefix = f"{repo.replace('/', '--')}@"
    found = [
        path
        for path in checkpoint_home(home).glob("*@*")
        if path.name.startswith(prefix) and not path.name.endswith(".partial")
    ]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)
