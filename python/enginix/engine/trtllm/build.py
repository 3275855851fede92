"""The tensorrt-llm kind's build: inspect, convert, build, verify; finished stages are kept.

A work directory holds the stages' files, so a failed or killed build resumes at the stage it was
in. The engine's own directory gets nothing before everything is verified, and the work directory
may be removed only after that.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from enginix import __version__
from enginix.checkpoint.stamps import require_unchanged
from enginix.engine.build import Build, Job, from_unchanged_sources
from enginix.engine.output import new_output, require_space
from enginix.engine.stages import Report, Stage, Stages
from enginix.engine.text.staging import stage_text
from enginix.engine.trtllm.building import TrtllmBuild, build_ranks
from enginix.engine.trtllm.command import BuildSpec
from enginix.engine.trtllm.conversion import BuildPaths, ask_runtime, convert_ranks
from enginix.engine.trtllm.engine_config import read_engine
from enginix.engine.trtllm.plan import BUILT_WITH, Options, Plan, read_plan
from enginix.engine.trtllm.rank_checkpoint import Converted, read_rank_checkpoint, write_note
from enginix.engine.trtllm.rank_tensors import least_bytes_of
from enginix.engine.trtllm.recipe import hash_ranks, recipe
from enginix.engine.trtllm.rope_stripping import strip_rank_checkpoint, takes_rope_tables
from enginix.engine.trtllm.stage_cache import StageCache, open_stage_cache
from enginix.engine.trtllm.tokenizer import TOKENIZER_PATTERNS, write_guide
from enginix.engine.trtllm.verify import counted, describe, verify_engine
from enginix.errors import BuildError
from enginix.manifest import BuiltWith, Manifest

# In the work directory: the rank checkpoint for a builder that cannot read the original.
STRIPPED = "rank-checkpoint-stripped"


@dataclass(frozen=True, slots=True)
class BuildContext:
    """A build's Python, environment and work directory."""

    python: Path
    environment: Mapping[str, str]
    directory: Path
    """Holds the files of finished stages; see `stage_cache.discard`."""
    warn: Callable[[str], None]
    """Called with TensorRT-LLM's relevant warnings."""

    @property
    def paths(self) -> BuildPaths:
        return BuildPaths(self.python, self.environment, Path(os.path.realpath(self.directory)))


def tensorrt_llm_build(job: Job, options: Options, context: BuildContext) -> Build:
    """The build of `job` with the TensorRT-LLM that the context's Python imports."""

    def build(directory: Path, stages: Stages) -> Manifest:
        paths = context.paths
        with open_stage_cache(paths.directory) as cache:
            plan = _inspect(job, options, paths, cache, stages, directory)
            converted = _converted(plan, paths, cache, stages)
            hashes = hash_ranks(converted, options.rank_hashes, stages)
            builder = _builder(plan, paths, converted)
            with stages.run("build") as stage:
                _build(plan, converted, paths, cache, stage, context.warn, builder["tensorrt_llm"])
            with stages.run("verify") as stage:
                config = read_engine(paths.engine)
                verify_engine(paths.engine, config, plan.inspection.checkpoint.quantization)
                _collect(paths.engine, directory)
                stage.summary = describe(config)
        program = _spec(plan, converted, paths)
        return replace(plan.manifest(builder), recipe=recipe(plan, program, hashes))

    return from_unchanged_sources(job, build)


def ask_versions(options: Options, context: BuildContext) -> BuiltWith:
    """The versions that a build in this context would use."""
    with open_stage_cache(context.paths.directory):
        report = asyncio.run(ask_runtime(context.paths, options.patience))
    return BuiltWith(__version__, **{key: report[key] for key in BUILT_WITH})


def convert_checkpoint(
    job: Job,
    options: Options,
    context: BuildContext,
    out: Path,
    report: Report,
    *,
    replace_it: bool,
) -> None:
    """The first half of a build: a rank checkpoint at `out`, complete or absent."""
    stages, paths = Stages(report), context.paths
    with (
        new_output(out, replace=replace_it) as directory,
        open_stage_cache(paths.directory) as cache,
    ):
        plan = _inspect(job, options, paths, cache, stages)
        converted = _converted(plan, paths, cache, stages)
        for path in sorted(converted.directory.iterdir()):
            _link_or_copy(path, directory / path.name)
        write_note(directory, plan, converted.reports)


def _inspect(
    job: Job,
    options: Options,
    paths: BuildPaths,
    cache: StageCache,
    stages: Stages,
    engine: Path | None = None,
) -> Plan:
    """The plan; `engine` gets its tokenizer first, so that a broken one fails early."""
    with stages.run("inspect") as stage:
        note = ""
        if engine:
            text = stage_text(job.checkpoint, engine, TOKENIZER_PATTERNS)
            job.load_text(engine)
            note = text.note
        plan = read_plan(job, options, cache, engine)
        stage.summary = "; ".join(filter(None, (plan.summary(), note)))
        _require_space(plan, paths, cache, engine)
    return plan


def _require_space(plan: Plan, paths: BuildPaths, cache: StageCache, engine: Path | None) -> None:
    """The files of an earlier build are kept or replaced, so they count as free."""
    disk = plan.inspection.estimate.disk
    needed = disk // 2 if plan.options.rank_checkpoint else disk
    require_space(paths.directory, needed - cache.size())
    if engine and engine.stat().st_dev != paths.directory.stat().st_dev:
        # The engine is copied there, not linked.
        require_space(engine, disk // 2)


def _converted(plan: Plan, paths: BuildPaths, cache: StageCache, stages: Stages) -> Converted:
    with stages.run("convert") as stage:
        if plan.options.rank_checkpoint:
            converted = read_rank_checkpoint(plan.options.rank_checkpoint, plan)
            stage.summary = f"{plan.options.rank_checkpoint}, compared again"
            return converted
        return Converted(paths.rank_checkpoint, _convert(plan, paths, cache, stage))


def _convert(
    plan: Plan, paths: BuildPaths, cache: StageCache, stage: Stage
) -> list[dict[str, Any]]:
    key = plan.key(paths.python)
    if result := cache.finished(paths.rank_checkpoint.name, key):
        stage.summary = "kept from the build before"
        reports: list[dict[str, Any]] = result["reports"]
        return reports
    cache.begin(paths.rank_checkpoint.name)
    options = plan.options
    reports = asyncio.run(
        convert_ranks(plan.conversion(), paths, options.patience, options.workers, stage.progress)
    )
    require_unchanged(plan.job.checkpoint, plan.stamps)
    cache.finish(paths.rank_checkpoint.name, key, {"reports": reports})
    stage.children_memory = max(report["peak_memory"] for report in reports)
    compared = "every tensor compared" if plan.decoder else "tensors not compared: unknown names"
    stage.summary = f"{counted(len(reports), 'rank file')}, {compared}"
    return reports


def _builder(plan: Plan, paths: BuildPaths, converted: Converted) -> dict[str, Any]:
    """The versions that build the engine; another machine may have made the rank checkpoint."""
    wanted = plan.options.gpu
    if plan.options.rank_checkpoint is None:
        report = converted.reports[0]
    else:
        report = asyncio.run(ask_runtime(paths, plan.options.patience))
    found = report["compute_capability"]
    if wanted is not None and found is not None and found != wanted:
        raise BuildError(
            f"this machine's GPU ({report['gpu_name']}) has compute capability {found}, but --gpu "
            f"is {wanted}; an engine runs only on the GPU it was built for: use {found}, or build "
            "on the other machine"
        )
    return report


def _build(
    plan: Plan,
    converted: Converted,
    paths: BuildPaths,
    cache: StageCache,
    stage: Stage,
    warn: Callable[[str], None],
    version: str,
) -> None:
    spec = _spec(plan, converted, paths)
    key = plan.key(paths.python, plan.limits, spec.max_input_len)
    if cache.finished(paths.engine.name, key) is not None:
        stage.summary = "kept from the build before"
        return
    cache.begin(paths.engine.name)
    stripped = not takes_rope_tables(version)
    if stripped:
        spec = replace(spec, rank_checkpoint=cache.begin(STRIPPED))
        strip_rank_checkpoint(converted.directory, spec.rank_checkpoint)
    sizes = plan.inspection.sizes
    tied = sizes is None or sizes.tied_embeddings
    least = min(least_bytes_of(path, tied=tied) for path in converted.rank_files())
    building = TrtllmBuild(spec, paths, least, plan.options.patience)
    outcome = asyncio.run(build_ranks(building, stage.progress, warn))
    cache.finish(paths.engine.name, key, {})
    # Including one that a killed build has left.
    shutil.rmtree(paths.directory / STRIPPED, ignore_errors=True)
    stage.children_memory = outcome.peak_memory
    size = sum(path.stat().st_size for path in paths.engine.iterdir())
    left = (
        ""
        if outcome.returncode is not None
        else ", stopped by enginix: it was complete and did not exit"
    )
    without = f", built without the rotary tables: TensorRT-LLM {version}" if stripped else ""
    stage.summary = f"{counted(spec.ranks, 'engine')}, {size / 1e9:.2f} GB{left}{without}"


def _spec(plan: Plan, converted: Converted, paths: BuildPaths) -> BuildSpec:
    return BuildSpec(
        rank_checkpoint=converted.directory,
        output=paths.engine,
        limits=plan.limits,
        ranks=plan.job.tensor_parallel,
        quantization=plan.inspection.checkpoint.quantization,
        max_input_len=plan.options.max_input_len,
        workers=plan.options.workers,
        launcher=plan.options.launcher,
    )


def _collect(engine: Path, directory: Path) -> None:
    """Link the engine's files beside its tokenizer; the work directory keeps them."""
    for path in sorted(engine.iterdir()):
        _link_or_copy(path, directory / path.name)
    write_guide(directory)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:
        # Another file system, or one without hard links.
        shutil.copyfile(source, target)
