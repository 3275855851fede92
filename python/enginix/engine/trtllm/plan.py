"""Plans a tensorrt-llm build: its inputs, and the tensors and files it must produce."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enginix import __version__
from enginix.checkpoint.architecture import sliding_window
from enginix.checkpoint.inspect import Inspection, inspect_checkpoint
from enginix.checkpoint.load import open_checkpoint
from enginix.checkpoint.stamps import Stamps, stamp_files
from enginix.engine.build import Job
from enginix.engine.chat_format import chat_format
from enginix.engine.trtllm.conversion import Conversion
from enginix.engine.trtllm.modules import Decoder, read_decoder
from enginix.engine.trtllm.quant_config import quant_config, quantization_of
from enginix.engine.trtllm.rank_tensors import DTYPES, rank_tensors, rope_tables
from enginix.engine.trtllm.stage_cache import StageCache, fingerprint
from enginix.engine.trtllm.tokenizer import TOKENIZER_FILE, read_vocabulary
from enginix.engine.trtllm.watchdog import Patience
from enginix.errors import CheckpointUnsupported
from enginix.hub_files import HubFiles
from enginix.manifest import BuiltWith, Limits, Manifest, Parallelism

# The keys of the converter's report about its runtime.
BUILT_WITH = ("tensorrt_llm", "tensorrt", "cuda", "gpu_name", "compute_capability")


@dataclass(frozen=True, slots=True)
class Options:
    """The options of this kind."""

    dtype: str = "auto"
    max_input_len: int | None = None
    workers: int | None = None
    launcher: Sequence[str] = ()
    rank_checkpoint: Path | None = None
    """An existing one, made by `convert_checkpoint`; None converts as part of the build."""
    rank_hashes: Mapping[str, str] = field(default_factory=dict)
    """Expected sha256 of the rank checkpoint's files, if known."""
    gpu: str | None = None
    """The required compute capability; None accepts this machine's GPU."""
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True, slots=True)
class Plan:
    job: Job
    options: Options
    inspection: Inspection
    limits: Limits
    dtype: str
    quant_config: dict[str, Any] | None
    decoder: Decoder | None
    hashes: dict[str, str]
    stamps: Stamps
    """Of the source files, before they were read."""

    def conversion(self) -> Conversion:
        quantization = quantization_of(self.quant_config)
        ranks = self.job.tensor_parallel
        return Conversion(
            checkpoint=self.inspection.checkpoint,
            ranks=ranks,
            dtype=self.dtype,
            quant_config=self.quant_config,
            tensors=rank_tensors(self.decoder, quantization, self.dtype, ranks)
            | rope_tables(self.decoder.sizes)
            if self.decoder
            else None,
            rank_memory=self.inspection.estimate.convert_memory,
        )

    def key(self, *more: object) -> str:
        """A hash of everything that a stage's files depend on."""
        return fingerprint(
            {
                "sources": self.hashes,
                "ranks": self.job.tensor_parallel,
                "dtype": self.dtype,
                "quant_config": self.quant_config,
                "more": [str(each) for each in more],
            }
        )

    def summary(self) -> str:
        needs = self.inspection.estimate
        algo = self.inspection.checkpoint.quantization.algo or self.dtype
        return (
            f"{self.inspection.checkpoint.architecture}, {algo}, about "
            f"{needs.rank_weights / 1e9:.1f} GB per rank, {needs.gpu_least / 1e9:.1f} GB of GPU "
            f"memory, {needs.convert_memory / 1e9:.1f} GB of RAM per conversion"
        )

    def manifest(self, report: Mapping[str, Any]) -> Manifest:
        checkpoint, job = self.inspection.checkpoint, self.job
        built_with = {key: report[key] for key in BUILT_WITH}
        return Manifest(
            name=job.name,
            kind="tensorrt-llm",
            architecture=checkpoint.architecture,
            source=job.source(self.hashes),
            quantization=checkpoint.quantization,
            parallelism=Parallelism(job.tensor_parallel, 1, job.tensor_parallel),
            limits=self.limits,
            built_with=BuiltWith(enginix=__version__, **built_with),
            files={},
            chat=job.chat or chat_format(HubFiles(job.checkpoint).chat_templates.get("default")),
            check=job.check,
        )


def read_plan(job: Job, options: Options, cache: StageCache, text: Path | None = None) -> Plan:
    """Check everything that can be checked before hours of work.

    `text` holds the tokenizer, if it is not the checkpoint's own.
    """
    stamps = stamp_files(job.checkpoint)
    checkpoint = open_checkpoint(job.checkpoint)
    inspection = inspect_checkpoint(
        checkpoint, tensor_parallel=job.tensor_parallel, limits=job.limits
    )
    inspection.require("tensorrt-llm")
    limits = inspection.limits
    _require_context(job, inspection)
    has_own = (checkpoint.directory / TOKENIZER_FILE).exists()
    if has_own or text:
        read_vocabulary(checkpoint.directory if has_own or not text else text)
    hashes = cache.source_hashes(checkpoint.directory, stamps)
    job.source(hashes)
    decoder = read_decoder(checkpoint)
    return Plan(
        job=job,
        options=options,
        inspection=inspection,
        limits=limits,
        dtype=_dtype(options.dtype, checkpoint.config),
        quant_config=quant_config(checkpoint, decoder),
        decoder=decoder,
        hashes=hashes,
        stamps=stamps,
    )


def _require_context(job: Job, inspection: Inspection) -> None:
    checkpoint, length = inspection.checkpoint, inspection.limits.max_seq_len
    sizes = inspection.sizes
    if sizes and sizes.context and length > sizes.context:
        raise CheckpointUnsupported(
            f"{job.checkpoint}: max_seq_len is {length}, but the model was made for "
            f"{sizes.context} positions; use at most that"
        )
    window = sliding_window(checkpoint.architecture, checkpoint.config)
    if window and length > window:
        raise CheckpointUnsupported(
            f"{job.checkpoint}: max_seq_len is {length}, but each token attends to {window} tokens "
            f"(sliding_window), and the engine would attend to all; use at most --max-seq-len "
            f"{window}, or the engine kind llmapi"
        )


def _dtype(requested: str, config: Mapping[str, Any]) -> str:
    """'auto' as TensorRT-LLM defines it: the checkpoint's own, but float16 instead of float32."""
    if requested != "auto":
        return requested
    found = str(config.get("torch_dtype") or config.get("dtype") or "float16")
    return found if found in DTYPES and found != "float32" else "float16"
