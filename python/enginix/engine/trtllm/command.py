"""The command line and environment of `python -m tensorrt_llm.commands.build`.

Only current options (TensorRT-LLM 1.0 to 1.3.0rc20), none deprecated: rank count, data type and
quantization come from the rank checkpoint and have no option.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from enginix.manifest import Limits, Quantization

PROGRAM = "trtllm-build"

MARK = "ENGINIX_BUILD"
"""Marks the environment of a build's processes, so that orphans can be found."""


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """The inputs of an engine build. Paths are absolute: the build has its own directory."""

    rank_checkpoint: Path
    output: Path
    limits: Limits
    ranks: int
    quantization: Quantization
    max_input_len: int | None = None
    workers: int | None = None
    """Ranks to build in parallel, each on its own GPU; None means all."""
    launcher: Sequence[str] = ()
    """Put before the command if MPI needs its own launcher (Slurm)."""


def build_command(python: Path, spec: BuildSpec) -> list[str]:
    limits = spec.limits
    options = {
        "checkpoint_dir": spec.rank_checkpoint,
        "output_dir": spec.output,
        "max_batch_size": limits.max_batch_size,
        "max_input_len": spec.max_input_len or limits.max_seq_len,
        "max_seq_len": limits.max_seq_len,
        "max_num_tokens": limits.max_num_tokens,
        "max_beam_width": 1,
        "kv_cache_type": "paged",
        "gemm_plugin": "nvfp4" if spec.quantization.algo == "NVFP4" else "auto",
        "use_paged_context_fmha": "enable",
        # An FP8 context without an FP8 KV cache is refused by the builder.
        "use_fp8_context_fmha": "enable" if spec.quantization.kv_cache_algo == "FP8" else "disable",
        "workers": min(spec.workers or spec.ranks, spec.ranks),
        "log_level": "info",
    }
    arguments = [
        argument for name, value in options.items() for argument in (f"--{name}", str(value))
    ]
    return [*spec.launcher, str(python), "-m", "tensorrt_llm.commands.build", *arguments]


def build_environment(base: Mapping[str, str], mark: str) -> dict[str, str]:
    """The environment for TensorRT-LLM's Python, made from `base`."""
    environment = dict(base)
    # It selects an old converter without NVFP4.
    environment.pop("TRTLLM_DISABLE_UNIFIED_CONVERTER", None)
    return {
        **environment,
        MARK: mark,
        # As root, Python would write bytecode into a store path.
        "PYTHONDONTWRITEBYTECODE": "1",
        # The watchdog reads progress from the log.
        "PYTHONUNBUFFERED": "1",
    }
