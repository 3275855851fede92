"""Builds an engine of any kind: the kind's own steps, then its manifest, then its place.

A kind contributes one function, `Build`. What every kind needs is here: the output that is whole or
absent, the list of files, the manifest written last.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from enginix.engine.output import new_output
from enginix.engine.stages import Report, Stages
from enginix.errors import BuildError
from enginix.manifest import FILE_NAME, Chat, Check, Limits, Manifest, write_manifest

Build = Callable[[Path, Stages], Manifest]
"""Writes an engine's files into a directory and says what they promise; `files` is left empty."""


LoadText = Callable[[Path], list[list[int]]]
"""Loads tokenizer and templates from an engine's directory as its server will, and raises what is
wrong with them. Gives the prompts that are asked when there is no `check`; the engine's answers
become it."""


def no_prompts(directory: Path) -> list[list[int]]:
    return []


@dataclass(frozen=True, slots=True)
class Job:
    """What to build, whatever the kind; a kind's own options go beside it into its function."""

    name: str
    checkpoint: Path
    limits: Limits
    repo: str | None = None
    revision: str | None = None
    tensor_parallel: int = 1
    chat: Chat | None = None
    """None: what the checkpoint's chat template tells."""
    check: list[Check] = field(default_factory=list)
    load_text: LoadText = no_prompts


def build_engine(build: Build, out: Path, report: Report, *, replace_it: bool = False) -> Manifest:
    """Run `build` and put its engine at `out`, or leave everything as it was and raise."""
    try:
        with new_output(out, replace=replace_it) as directory:
            stages = Stages(report)
            manifest = build(directory, stages)
            with stages.run("store") as stage:
                manifest = replace(manifest, files=sync_files(directory))
                write_manifest(directory, manifest)
                stage.summary = f"{len(manifest.files)} files on the disk, and their manifest"
    except OSError as error:
        # Checkpoints and runtimes have errors of their own: what is left is the output's.
        raise BuildError(
            f"the engine cannot be written to {out}: {error.strerror or error}; "
            "what was there before is as it was"
        ) from error
    return manifest


def sync_files(directory: Path) -> dict[str, int]:
    """Name -> size of every file but the manifest, each on the disk before anything says so."""
    sizes = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.name != FILE_NAME:
            with path.open("rb") as file:
                os.fsync(file.fileno())
            sizes[str(path.relative_to(directory))] = path.stat().st_size
    return sizes
