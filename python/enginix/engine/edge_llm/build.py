"""The edge-llm kind's build: TensorRT Edge-LLM's own builder, watched, at its server's path.

`tensorrt-edgellm-serve` takes no engine: it builds one where its cache has none for exactly its
options. So the engine is a part of such a cache, and its environment says where in it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enginix import __version__
from enginix.checkpoint.engine_kinds import EDGE_LLM_EXPERTS
from enginix.checkpoint.inspect import Inspection, inspect_checkpoint
from enginix.checkpoint.load import hash_files, open_checkpoint
from enginix.checkpoint.support import has_nvfp4_experts
from enginix.engine.build import Build, Job, from_unchanged_sources
from enginix.engine.chat_format import chat_format
from enginix.engine.edge_llm.bundle import (
    CONFIG_FILE,
    KV_PAGE,
    LIBRARY,
    PLAN_FILE,
    Expected,
    check_bundle,
)
from enginix.engine.output import require_space
from enginix.engine.stages import Stage, Stages
from enginix.engine.text.staging import stage_text
from enginix.engine.trtllm.command import build_environment
from enginix.engine.trtllm.failures import Ended, explain
from enginix.engine.trtllm.log import LogEvent, Warned
from enginix.engine.trtllm.tokenizer import TOKENIZER_PATTERNS
from enginix.engine.trtllm.watchdog import Patience, Task, watch
from enginix.errors import (
    BuildError,
    BuildIncomplete,
    CheckpointUnsupported,
    ProcessError,
    RuntimeMissing,
    SourceChanged,
    UsageError,
)
from enginix.hub_files import HubFiles
from enginix.manifest import BuiltWith, Limits, Manifest, Parallelism, Recipe
from enginix.process import run

PROGRAM = "tensorrt-edgellm-build"
KIND = "edge-llm"
# The builder, TensorRT and the writing hold a copy of the weights each, and TensorRT its workspace.
COPIES = 3
WORKSPACE_BYTES = 4_000_000_000
ASK_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class BuildContext:
    """The environment that has Edge-LLM, and where the log is kept until the build succeeds."""

    python: Path
    asked: Path
    """The program that says, in that Python, what the environment is."""
    environment: Mapping[str, str]
    work: Path
    warn: Callable[[str], None]
    requantize_experts: bool = False
    patience: Patience = field(default_factory=Patience)


def edge_llm_build(job: Job, context: BuildContext) -> Build:
    """The build of `job`, whose `max_num_tokens` are the longest prompt: it is read in one step."""
    require_limits(job.limits)

    def build(directory: Path, stages: Stages) -> Manifest:
        with stages.run("inspect") as stage:
            inspection = _inspect(job, context)
            text = stage_text(job.checkpoint, directory, TOKENIZER_PATTERNS)
            job.load_text(directory)
            facts = ask(job, context, directory)
            stage.summary = _describe(inspection, facts)
            require_space(directory, inspection.estimate.weights)
        with stages.run("hash") as stage:
            source = job.source(hash_files(job.checkpoint))
            stage.summary = f"sha256 of {len(source.files)} source files"
        with stages.run("build") as stage:
            _build(inspection, facts, context, stage)
        with stages.run("verify") as stage:
            if ask(job, context, directory)["path"] != facts["path"]:
                raise SourceChanged(f"{job.checkpoint} was changed during the build; build again")
            expected = _expected(inspection, facts)
            stage.summary = check_bundle(Path(facts["path"]), expected, BuildError)
        shutil.rmtree(context.work, ignore_errors=True)
        return Manifest(
            name=job.name,
            kind=KIND,
            architecture=inspection.checkpoint.architecture,
            source=source,
            quantization=inspection.checkpoint.quantization,
            parallelism=Parallelism(),
            limits=job.limits,
            built_with=_built_with(facts),
            files={},
            chat=job.chat or chat_format(HubFiles(text.directory).chat_templates.get("default")),
            recipe=_recipe(job, facts, context),
        )

    return from_unchanged_sources(job, build)


def require_limits(limits: Limits) -> None:
    """Refuse what the builder accepts and its server cannot keep."""
    if limits.max_num_tokens >= limits.max_seq_len:
        raise UsageError(
            f"the longest prompt is {limits.max_num_tokens} tokens (--max-input-len), but prompt "
            f"and answer together are {limits.max_seq_len} (--max-seq-len): there is no room for "
            "an answer; ask for a shorter prompt or more tokens"
        )


def ask(job: Job, context: BuildContext, cache: Path) -> dict[str, Any]:
    """Versions, GPU, the builder's arguments, and the engine's path in that cache."""
    limits = job.limits
    argv = [
        str(context.python),
        str(context.asked),
        "facts",
        os.path.realpath(job.checkpoint),
        f"--cache={cache}",
        f"--max-batch-size={limits.max_batch_size}",
        f"--max-input-len={limits.max_num_tokens}",
        f"--max-kv-cache-capacity={limits.max_seq_len}",
    ]
    environment = build_environment(context.environment, f"{context.work}:ask")
    try:
        output = run(argv, env=environment, timeout=ASK_SECONDS)
    except ProcessError as error:
        raise RuntimeMissing(_last_line(str(error)).removeprefix("edge-llm: ")) from error
    try:
        facts: dict[str, Any] = json.loads(_last_line(output))
    except ValueError:
        raise RuntimeMissing(
            f"{context.python} said {_last_line(output)!r:.200}, expected JSON; make the "
            "environment again: `enginix setup --engine edge-llm --force`"
        ) from None
    return facts


def _inspect(job: Job, context: BuildContext) -> Inspection:
    checkpoint = open_checkpoint(job.checkpoint)
    inspection = inspect_checkpoint(
        checkpoint, limits=job.limits, tensor_parallel=job.tensor_parallel
    )
    inspection.require(KIND)
    context_length = checkpoint.config.get("max_position_embeddings")
    if isinstance(context_length, int) and job.limits.max_seq_len > context_length:
        raise CheckpointUnsupported(
            f"{job.checkpoint}: --max-seq-len is {job.limits.max_seq_len}, but the model was made "
            f"for {context_length} positions, and the builder would not say so; use at most that"
        )
    experts = has_nvfp4_experts(inspection.layers, inspection.algorithms)
    if experts and not context.requantize_experts:
        raise CheckpointUnsupported(
            f"{job.checkpoint}: {EDGE_LLM_EXPERTS}; serve it with the engine kind llmapi or vllm, "
            "or accept that with --requantize-experts"
        )
    return inspection


def _describe(inspection: Inspection, facts: Mapping[str, Any]) -> str:
    limits = inspection.limits
    pages = limits.max_batch_size * -(-limits.max_seq_len // KV_PAGE)
    cache = inspection.estimate.kv_cache_per_token
    taken = f", KV cache {pages * KV_PAGE * cache / 1e9:.2f} GB, all of it at once" if cache else ""
    return (
        f"{inspection.checkpoint.architecture}, {inspection.checkpoint.quantization.algo}; "
        f"Edge-LLM {facts['edge_llm']}, TensorRT {facts['tensorrt']}, compute capability "
        f"{facts['compute_capability']}{taken}"
    )


def _build(
    inspection: Inspection, facts: Mapping[str, Any], context: BuildContext, stage: Stage
) -> None:
    """Run the builder. Only status 0 is success: it writes the plan first, and the rest later."""
    bundle = Path(facts["path"])
    bundle.mkdir(parents=True)
    context.work.mkdir(parents=True, exist_ok=True)
    mark = f"{context.work}:build"
    program = context.python.with_name(PROGRAM)

    def report(event: LogEvent) -> None:
        if isinstance(event, Warned):
            context.warn(event.text)

    task = Task(
        program=PROGRAM,
        argv=[str(context.python), str(program), *facts["arguments"]],
        environment=build_environment(context.environment, mark),
        mark=mark,
        directory=context.work,
        log=context.work / "build.log",
        files=[bundle / PLAN_FILE, bundle / CONFIG_FILE],
        is_complete=lambda: False,
    )
    outcome = asyncio.run(watch(task, context.patience, report))
    stage.children_memory = outcome.peak_memory
    needed = COPIES * inspection.estimate.weights + WORKSPACE_BYTES
    if outcome.returncode:
        raise explain(Ended(PROGRAM, outcome.returncode, outcome.events, task.log, needed))
    if "Engine outputs:" not in task.log.read_text(encoding="utf-8", errors="replace"):
        raise BuildIncomplete(PROGRAM, "it never listed its engines", task.log)
    size = sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file())
    stage.summary = f"{size / 1e6:,.1f} MB at {bundle.parent.name}/{bundle.name}"


def _expected(inspection: Inspection, facts: Mapping[str, Any]) -> Expected:
    quantization, tensors = inspection.checkpoint.quantization, inspection.checkpoint.tensors
    baked = [
        tensors[f"{layer.name}.weight"].size_bytes
        for layer in inspection.layers
        if inspection.algorithms[layer.name] == "NVFP4"
        and layer.name != "lm_head"
        and ".experts." not in layer.name
    ]
    return Expected(
        inspection.limits, facts["edge_llm"], quantization.kv_cache_algo, max(1, sum(baked))
    )


def _built_with(facts: Mapping[str, Any]) -> BuiltWith:
    return BuiltWith(
        __version__,
        tensorrt=facts["tensorrt"],
        gpu_name=facts["gpu_name"] or None,
        compute_capability=facts["compute_capability"],
    )


def _recipe(job: Job, facts: Mapping[str, Any], context: BuildContext) -> Recipe:
    names = {os.path.realpath(job.checkpoint): "CHECKPOINT", str(facts["path"]): "ENGINE"}
    libraries = {LIBRARY: facts["edge_llm"], "nvidia-driver": facts["driver"]}
    experts = {"requantize_experts": "true"} if context.requantize_experts else {}
    accepted = ["--requantize-experts"] if experts else []
    return Recipe(
        command=[*job.command(KIND, max_input_len=job.limits.max_num_tokens), *accepted],
        program=[PROGRAM, *(names.get(each, each) for each in facts["arguments"])],
        options=experts,
        libraries={name: version for name, version in libraries.items() if version},
    )


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]
