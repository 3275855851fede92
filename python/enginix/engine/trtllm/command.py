"""The command line and environment of `python -m tensorrt_llm.commands.build`.

Only today's options (TensorRT-LLM 1.0 to 1.3.0rc20): rank count, data type and quantization come
from the rank checkpoint and have no option; what is deprecated is not used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from enginix.manifest import Limits, Quantization

PROGRAM = "trtllm-build"

MARK = "ENGINIX_BUILD"
"""In the environment of everything a build starts, so that what escapes its parent is found."""


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """What an engine is built from and for. Paths are absolute: its directory is another one."""

    rank_checkpoint: Path
    output: Path
    limits: Limits
    ranks: int
    quantization: Quantization
    max_input_len: int | None = None
    workers: int | None = None
    """Ranks built at once, each on its own GPU; None is all of them."""
    launcher: Sequence[str] = ()
    """Put before the command where MPI must be started by its own launcher (Slurm)."""


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
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return [*spec.launcher, str(python), "-m", "tensorrt_llm.commands.build", *words]


def build_environment(base: Mapping[str, str], mark: str) -> dict[str, str]:
    """`base` for a program that runs TensorRT-LLM's Python."""
    environment = dict(base)
    # Selects an old converter that does not know NVFP4.
    environment.pop("TRTLLM_DISABLE_UNIFIED_CONVERTER", None)
    return {
        **environment,
        MARK: mark,
        # Root's Python would write into a store path.
        "PYTHONDONTWRITEBYTECODE": "1",
        # The watchdog reads progress from the log.
        "PYTHONUNBUFFERED": "1",
    }
