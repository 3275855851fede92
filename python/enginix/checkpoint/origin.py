"""Which commit a directory was fetched from: `.enginix-source.json`, beside the fetched files.

A build takes the repository and the commit from there, and only while every file is as it came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from enginix.errors import CheckpointDamaged
from enginix.records import decode_file, write_json

FILE_NAME = ".enginix-source.json"


@dataclass(frozen=True, slots=True)
class Origin:
    repo: str
    revision: str
    """The commit, whatever branch or tag was asked for."""
    files: Mapping[str, str]
    """File name -> sha256."""

    def require_unchanged(self, directory: Path, hashes: Mapping[str, str]) -> None:
        """Raise CheckpointDamaged for a file of `hashes` that did not come from this commit."""
        for name, found in hashes.items():
            expected = self.files.get(name)
            if found != expected:
                came = f"it came with {expected}" if expected else "it did not come from there"
                raise CheckpointDamaged(
                    f"{directory / name} has sha256 {found}, and {came} ({self.repo} at "
                    f"{self.revision[:12]}); fetch it again, or remove {FILE_NAME} to build from "
                    "the changed files as a local checkpoint"
                )


def write_origin(directory: Path, origin: Origin) -> None:
    """Files that came from the same commit before stay known."""
    try:
        before = read_origin(directory)
    except CheckpointDamaged:
        before = None
    if before and (before.repo, before.revision) == (origin.repo, origin.revision):
        origin = Origin(origin.repo, origin.revision, {**before.files, **origin.files})
    write_json(directory / FILE_NAME, asdict(origin))


def read_origin(directory: Path) -> Origin | None:
    """None where nothing is recorded: another program's download, or a model made here."""
    path = directory / FILE_NAME

    def failure(reason: str) -> CheckpointDamaged:
        return CheckpointDamaged(
            f"{reason}; {path} is not what `enginix checkpoint fetch` writes: fetch again, or "
            "remove it to take the files as a local checkpoint"
        )

    try:
        return decode_file(Origin, path, failure)
    except (FileNotFoundError, NotADirectoryError):
        return None
