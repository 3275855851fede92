"""Builds the llama.cpp engine of a checkpoint for `enginix serve`, in enginix' home."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from enginix import __version__
from enginix.checkpoint.load import hash_files
from enginix.cli import engine_gguf
from enginix.cli.engine import catalogue_job, checkpoint_job, run_job
from enginix.cli.model_source import ModelSource, limits_for
from enginix.cli.signals import terminated_as_exit
from enginix.cli.views.stages import StageLines
from enginix.engine.build import Job
from enginix.errors import EnginixError, UsageError
from enginix.manifest import Manifest, check_files, read_manifest


def engine_for(source: ModelSource, out: Path, context: int | None) -> bool:
    """Build it at `out` unless it is there already; return whether it was built.

    UsageError where `out` holds the engine of another model: that is not replaced.
    """
    job = _job(source, context)
    try:
        built = read_manifest(out)
        check_files(out, built)
    except EnginixError:
        built = None
    if built and _is_from(built, job):
        if built.limits == job.limits and built.built_with.enginix == __version__:
            return False
    elif built and source.spec is None and built.source.repo != (job.repo or ""):
        was = built.source.repo or "other files"
        raise UsageError(
            f"{out} holds an engine of {was}, not of {job.repo or job.checkpoint}; remove it with "
            f"`enginix rm {out.name}`, or serve this model under another name with --name NAME"
        )
    lines = StageLines()
    with terminated_as_exit():
        try:
            run_job(job, engine_gguf.KIND, out, lines, replace_it=True)
        finally:
            lines.clear()
    return True


def _job(source: ModelSource, context: int | None) -> Job:
    spec = source.spec
    if spec and source.is_for_llama_cpp:
        job = catalogue_job(spec, source.path, None)
    else:
        job = checkpoint_job(source.path, source.name, engine_gguf.KIND)
        job = replace(job, chat=spec.chat if spec else None)
    batch, length = limits_for(source, context)
    if context is None:
        # The model may support fewer tokens.
        length = min(length, job.limits.max_seq_len)
    limits = replace(job.limits, max_batch_size=batch, max_seq_len=length)
    return replace(job, name=source.name, limits=limits)


def _is_from(built: Manifest, job: Job) -> bool:
    """Whether an engine was built from the job's files."""
    if job.origin:
        return (built.source.repo, built.source.revision) == (job.repo, job.revision)
    return hash_files(job.checkpoint) == built.source.files
