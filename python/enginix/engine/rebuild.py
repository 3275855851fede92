"""Rebuilds an engine from its manifest, and compares the source and the result."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from enginix.checkpoint.load import hash_all, hash_files
from enginix.engine.build import Build, Job, sync_files
from enginix.engine.stages import Stages
from enginix.errors import EngineError, NotReproduced, SourceChanged
from enginix.manifest import ACCURACY, BuiltWith, Manifest, Recipe, check_files

if TYPE_CHECKING:
    # Its library takes a second to import, and only a fetch needs it.
    from enginix.checkpoint.listing import Listing

# Engine kind -> files that need not be identical after a rebuild.
NOT_COMPARED = {"gguf": (), "tensorrt-llm": ("config.json", "rank*")}


@dataclass(frozen=True, slots=True)
class Expected:
    """The hashes and sizes to reproduce: from the manifest, or for an older one from the files."""

    hashes: dict[str, str]
    sizes: dict[str, int]

    @property
    def compared(self) -> str:
        if self.hashes:
            return f"{len(self.hashes)} of {len(self.sizes)} files are identical"
        return f"{len(self.sizes)} files have the same size (this older manifest has no hashes)"


def read_expected(manifest: Manifest, directory: Path | None) -> Expected:
    """`directory` is the engine, if it is available."""
    skipped = NOT_COMPARED[manifest.kind]
    sizes = {
        name: size
        for name, size in manifest.files.items()
        if not any(fnmatchcase(name, pattern) for pattern in skipped)
    }
    hashes = manifest.sha256
    if not hashes and directory is not None:
        check_files(directory, manifest)
        hashes = hash_all(directory, sizes)
    return Expected({name: hashes[name] for name in sizes if name in hashes}, sizes)


def require_rebuildable(where: Path, manifest: Manifest) -> Recipe:
    """The recipe, after a check that the manifest records all that a rebuild needs."""
    if manifest.kind not in NOT_COMPARED:
        raise EngineError(
            f"{where} is of kind {manifest.kind}, which is not rebuilt from a manifest: there "
            "would be nothing to compare, and its builder wants the GPU that will serve it. Build "
            f"it there{_command_of(manifest)}"
        )
    if not manifest.source.files:
        raise EngineError(
            f"{where} records no source files: the engine was adopted, not built by enginix; "
            "build one with `enginix engine build`"
        )
    if manifest.recipe is None and manifest.kind != "gguf":
        raise EngineError(
            f"{where} was written by an older enginix, which did not record the build's options; "
            "build the engine again with `enginix engine build`"
        )
    return manifest.recipe or Recipe(command=[])


def _command_of(manifest: Manifest) -> str:
    """The recorded command that builds it, with its source."""
    if manifest.recipe is None or not manifest.recipe.command:
        return " with `enginix engine build`"
    source, fetched = "DIR", "where DIR has its source files"
    if manifest.source.repo:
        revision = f"@{manifest.source.revision}" if manifest.source.revision else ""
        source = f"{manifest.source.repo}{revision}"
        fetched = f"after `enginix pull {source}`"
    words = [source if word == "CHECKPOINT" else word for word in manifest.recipe.command]
    return f", {fetched}: {shlex.join(words)}"


def job_of(manifest: Manifest, checkpoint: Path) -> Job:
    return Job(
        name=manifest.name,
        checkpoint=checkpoint,
        limits=manifest.limits,
        repo=manifest.source.repo,
        revision=manifest.source.revision,
        tensor_parallel=manifest.parallelism.tp,
        chat=manifest.chat,
        check=manifest.check,
    )


def require_listing(listing: Listing, manifest: Manifest) -> None:
    """Raise SourceChanged before any download if the hub's own hashes differ."""
    listed = {file.name: file.sha256 for file in listing.files}
    where = f"{listing.repo} at {listing.revision[:12]}"
    for name, expected in manifest.source.files.items():
        if name not in listed:
            raise SourceChanged(f"{where} has no {name}, which the engine was made from{_DONE}")
        # The hub lists hashes of Git LFS files only; the others are compared after the fetch.
        if (found := listed[name]) and found != expected:
            raise _changed(f"{name} of {where}", found, expected)


def require_source(directory: Path, manifest: Manifest) -> None:
    """Raise SourceChanged unless the directory holds the files of the manifest, and no others."""
    found, expected = hash_files(directory), manifest.source.files
    for name, wanted in expected.items():
        if name not in found:
            raise SourceChanged(f"{directory} has no {name}, which the engine was made from{_DONE}")
        if found[name] != wanted:
            raise _changed(str(directory / name), found[name], wanted)
    if more := sorted(found.keys() - expected.keys()):
        raise SourceChanged(
            f"{directory / more[0]} is not one of the files that the engine was made from, but a "
            "build would read it; remove it, or name a directory without it with --checkpoint"
        )


_DONE = "; nothing was built: name a directory that has the old files with --checkpoint"


def _changed(what: str, found: str, expected: str) -> SourceChanged:
    return SourceChanged(f"{what} has sha256 {found}, the manifest records {expected}{_DONE}")


def comparing(build: Build, expected: Expected) -> Build:
    """`build`, which raises NotReproduced and leaves nothing if its engine differs."""

    def again(directory: Path, stages: Stages) -> Manifest:
        manifest = build(directory, stages)
        with stages.run("compare") as stage:
            _compare(directory, expected)
            stage.summary = expected.compared
        return manifest

    return again


def _compare(directory: Path, expected: Expected) -> None:
    sizes = sync_files(directory)
    for name, size in expected.sizes.items():
        if not expected.hashes and sizes.get(name) != size:
            raise NotReproduced(name, f"{sizes.get(name, 0)} bytes", f"{size} bytes")
    found = hash_all(directory, (name for name in expected.hashes if name in sizes))
    for name, wanted in expected.hashes.items():
        if found.get(name) != wanted:
            raise NotReproduced(name, found.get(name), wanted)


def other_versions(
    manifest: Manifest, now: BuiltWith, libraries: Mapping[str, str]
) -> Iterator[str]:
    """'tensorrt_llm 1.2.1 then, 1.3.0 now' for each version that differs."""
    recorded = manifest.recipe.libraries if manifest.recipe else {}
    then = asdict(manifest.built_with) | recorded
    for name, value in (asdict(now) | dict(libraries)).items():
        before = then.get(name)
        if before != value:
            yield f"{name.replace('_', ' ')} {before or 'unknown'} then, {value or 'none'} now"


def other_keys(before: Manifest, after: Manifest) -> list[str]:
    """The keys whose values differ between the two manifests, but for what is measured later."""
    return [
        each.name
        for each in fields(Manifest)
        if each.name != ACCURACY and getattr(before, each.name) != getattr(after, each.name)
    ]
