"""Builds an engine of any kind: the kind's own steps, then the manifest, then the final name.

A kind contributes one function, `Build`. What every kind needs is here: the output that is whole or
absent, the list of files, the manifest written last.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from enginix.checkpoint.load import hash_all
from enginix.checkpoint.origin import Origin
from enginix.checkpoint.stamps import require_unchanged, stamp_files
from enginix.engine.output import new_output
from enginix.engine.stages import Report, Stages
from enginix.errors import BuildError
from enginix.manifest import FILE_NAME, Chat, Check, Limits, Manifest, Source, write_manifest

Build = Callable[[Path, Stages], Manifest]
"""Writes an engine's files into a directory and returns its manifest, without `files`."""


LoadText = Callable[[Path], list[list[int]]]
"""Loads tokenizer and templates from an engine's directory as its server will, and raises what is
wrong with them. Gives the prompts that are asked when there is no `check`; the engine's answers
become it."""


def no_prompts(directory: Path) -> list[list[int]]:
    return []


@dataclass(frozen=True, slots=True)
class Job:
    """What to build, for any kind; a kind's own options are separate arguments of its function."""

    name: str
    checkpoint: Path
    limits: Limits
    repo: str | None = None
    revision: str | None = None
    tensor_parallel: int = 1
    chat: Chat | None = None
    """None: detected from the checkpoint's chat template."""
    check: list[Check] = field(default_factory=list)
    load_text: LoadText = no_prompts
    origin: Origin | None = None
    """The commit that was fetched into the checkpoint's directory, if recorded."""
    remark: str | None = None
    """A note to print about the source, such as that it is not pinned."""

    def source(self, hashes: Mapping[str, str]) -> Source:
        """The source of files with these hashes; CheckpointDamaged if they have changed."""
        if self.origin:
            self.origin.require_unchanged(self.checkpoint, hashes)
        return Source(self.repo, self.revision, dict(hashes))

    def command(self, kind: str, **more: object) -> list[str]:
        """The job's command line, for its recipe; CHECKPOINT stands for the source directory."""
        options = {
            "checkpoint": "CHECKPOINT",
            "name": self.name,
            "kind": kind,
            "tensor-parallel": self.tensor_parallel,
            "max-batch-size": self.limits.max_batch_size,
            "max-seq-len": self.limits.max_seq_len,
            "max-num-tokens": self.limits.max_num_tokens,
            **{name.replace("_", "-"): value for name, value in more.items() if value is not None},
        }
        arguments = [
            argument for name, value in options.items() for argument in (f"--{name}", str(value))
        ]
        return ["enginix", "engine", "build", *arguments]


def build_engine(build: Build, out: Path, report: Report, *, replace_it: bool = False) -> Manifest:
    """Run `build` and put its engine at `out`; on an error, change nothing."""
    try:
        with new_output(out, replace=replace_it) as directory:
            stages = Stages(report)
            manifest = build(directory, stages)
            with stages.run("store") as stage:
                files = sync_files(directory)
                hashes = hash_all(directory, files)
                manifest = replace(manifest, files=files, sha256=hashes)
                write_manifest(directory, manifest)
                stage.summary = f"{len(manifest.files)} files synced, and their manifest"
    except BrokenPipeError:
        # The reader of the stages' lines has gone.
        raise
    except OSError as error:
        # Checkpoints and runtimes raise their own errors: an OSError is the output's.
        raise BuildError(
            f"the engine cannot be written to {out}: {error.strerror or error}; "
            "what was there before is as it was"
        ) from error
    return manifest


def from_unchanged_sources(job: Job, build: Build) -> Build:
    """`build`, which fails if a source file is changed while it runs."""

    def guarded(directory: Path, stages: Stages) -> Manifest:
        before = stamp_files(job.checkpoint)
        manifest = build(directory, stages)
        require_unchanged(job.checkpoint, before)
        return manifest

    return guarded


def sync_files(directory: Path) -> dict[str, int]:
    """Name -> size of every file except the manifest, after syncing each to disk."""
    sizes = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.name != FILE_NAME:
            with path.open("rb") as file:
                os.fsync(file.fileno())
            sizes[str(path.relative_to(directory))] = path.stat().st_size
    return sizes
