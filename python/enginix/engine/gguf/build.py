"""The gguf kind's build: checkpoint -> model.gguf and its tokenizer, losslessly."""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib.metadata import version
from math import prod
from pathlib import Path

from gguf import GGUFWriter

from enginix import __version__
from enginix.checkpoint.inspect import inspect_checkpoint
from enginix.checkpoint.load import Checkpoint, hash_files, open_checkpoint
from enginix.engine.build import Build, Job, from_unchanged_sources
from enginix.engine.chat_format import chat_format
from enginix.engine.gguf.answers import NEW_TOKENS, compare_answers, record_answers
from enginix.engine.gguf.hyperparameters import Hyperparameters, read_hyperparameters
from enginix.engine.gguf.layout import lay_out
from enginix.engine.gguf.metadata import add_metadata
from enginix.engine.gguf.program import Generator
from enginix.engine.gguf.tensor_sources import GgufTensor
from enginix.engine.gguf.verify import MODEL_FILE, verify_model
from enginix.engine.gguf.vocabulary import Vocabulary, add_vocabulary, read_vocabulary
from enginix.engine.gguf.write import Progress, write_gguf
from enginix.engine.output import require_space
from enginix.engine.stages import Stage, Stages
from enginix.engine.text.staging import stage_text
from enginix.errors import CheckpointUnsupported, UsageError
from enginix.hub_files import HubFiles
from enginix.manifest import BuiltWith, Check, Manifest, Parallelism, Recipe

# What a server needs besides the weights; never the checkpoint's config.json.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything of a GGUF except its weights."""

    checkpoint: Checkpoint
    model: Hyperparameters
    vocabulary: Vocabulary
    tensors: list[GgufTensor]

    @property
    def parameters(self) -> int:
        weights = (tensor for tensor in self.tensors if tensor.name.endswith(".weight"))
        return sum(prod(tensor.shape) for tensor in weights)

    @property
    def size_bytes(self) -> int:
        return sum(tensor.size_bytes for tensor in self.tensors)


def gguf_build(job: Job, generator: Generator | None) -> Build:
    """The build of `job`; `generator` runs the finished engine, without it the check is skipped."""
    if job.tensor_parallel != 1:
        raise UsageError(
            f"tensor parallel {job.tensor_parallel} is not for the gguf kind, which runs in one "
            "process; leave it out"
        )

    def build(directory: Path, stages: Stages) -> Manifest:
        with stages.run("inspect") as stage:
            text = stage_text(job.checkpoint, directory, TOKENIZER_FILES)
            prompts = job.load_text(directory)
            plan = read_plan(job.checkpoint, text.directory)
            _require_context(job, plan.model)
            stage.summary = "; ".join(filter(None, (_describe(plan), text.note)))
            require_space(directory, plan.size_bytes)
        with stages.run("repack") as stage:
            _write(plan, job.name, directory, stage)
        with stages.run("hash") as stage:
            source = job.source(hash_files(job.checkpoint))
            stage.summary = f"sha256 of {len(source.files)} source files"
        with stages.run("verify") as stage:
            stage.summary = verify_model(directory)
        with stages.run("check") as stage:
            check = _check(job, directory, generator, prompts, stage)
        return Manifest(
            name=job.name,
            kind="gguf",
            architecture=plan.checkpoint.architecture,
            source=source,
            quantization=plan.checkpoint.quantization,
            parallelism=Parallelism(),
            limits=job.limits,
            built_with=BuiltWith(enginix=__version__),
            files={},
            chat=job.chat or chat_format(plan.vocabulary.chat_template),
            check=check,
            recipe=Recipe(job.command("gguf"), libraries={**libraries(), **text.libraries}),
        )

    return from_unchanged_sources(job, build)


def libraries() -> dict[str, str]:
    """Versions of the libraries that write model.gguf."""
    return {"gguf": version("gguf")}


def read_plan(directory: Path, text: Path | None = None) -> Plan:
    """Read a checkpoint's headers and lay out its GGUF; raises if that is impossible.

    `text` is the directory of its tokenizer, if one had to be made.
    """
    checkpoint = open_checkpoint(directory)
    inspect_checkpoint(checkpoint).require("gguf")
    model = read_hyperparameters(checkpoint)
    vocabulary = read_vocabulary(checkpoint, model.vocab_size, text)
    return Plan(checkpoint, model, vocabulary, lay_out(checkpoint, model))


def _require_context(job: Job, model: Hyperparameters) -> None:
    if job.limits.max_seq_len > model.context:
        raise CheckpointUnsupported(
            f"{job.checkpoint}: max_seq_len is {job.limits.max_seq_len}, but the model was made "
            f"for {model.context} positions; use at most that"
        )


def _describe(plan: Plan) -> str:
    algo = plan.checkpoint.quantization.algo or _plain_dtype(plan)
    shards = len({tensor.file for tensor in plan.checkpoint.tensors.values()})
    return (
        f"{plan.checkpoint.architecture}, {algo}, {plan.parameters / 1e6:,.1f} M parameters "
        f"in {len(plan.checkpoint.tensors)} tensors and {shards} {_plural('file', shards)}"
    )


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"


def _plain_dtype(plan: Plan) -> str:
    largest = max(plan.tensors, key=lambda tensor: tensor.size_bytes)
    return {"F16": "FP16", "F32": "FP32"}.get(largest.type.name, largest.type.name)


def write_model(plan: Plan, name: str, path: Path, progress: Progress) -> None:
    """Write the GGUF of `plan`, with `name` as its model name, to the new file `path`."""

    def add_key_values(writer: GGUFWriter) -> None:
        add_metadata(writer, name, plan.model, plan.tensors)
        add_vocabulary(writer, plan.vocabulary)

    write_gguf(path, plan.model.architecture, add_key_values, plan.tensors, progress)


def _write(plan: Plan, name: str, directory: Path, stage: Stage) -> None:
    total, done = plan.size_bytes, 0
    start = time.monotonic()

    def progress(size: int) -> None:
        nonlocal done
        done += size
        stage.progress(done / total)

    path = directory / MODEL_FILE
    write_model(plan, name, path, progress)
    size = path.stat().st_size
    rate = size / max(time.monotonic() - start, 1e-3)
    stage.summary = f"{len(plan.tensors)} tensors, {size / 1e6:,.1f} MB, {rate / 1e6:,.0f} MB/s"


def _check(
    job: Job,
    directory: Path,
    generator: Generator | None,
    prompts: list[list[int]],
    stage: Stage,
) -> list[Check]:
    if generator is None:
        stage.summary = (
            "not run: no triton-cpu runtime here; make one with `enginix setup triton-cpu`, "
            "then `enginix engine verify DIR --run`"
        )
        return job.check
    model = directory / MODEL_FILE
    if job.check:
        compare_answers(generator, model, job.check)
        stage.summary = f"{len(job.check)} of {len(job.check)} recorded answers reproduced"
        return job.check
    fitting = _fitting(prompts, job)
    check = record_answers(generator, model, fitting, HubFiles(job.checkpoint).end_ids())
    stage.summary = f"{len(check)} {_plural('answer', len(check))} recorded"
    return check


def _fitting(prompts: list[list[int]], job: Job) -> list[list[int]]:
    """The prompts that leave space for an answer in the context."""
    limit = job.limits.max_seq_len - NEW_TOKENS
    return [prompt for prompt in prompts if 0 < len(prompt) <= limit]
