"""Estimates the disk, host memory and GPU memory that an engine needs, before it is built.

Weights and KV cache are counted; workspace and the conversion's overhead are rules of thumb.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from enginix.checkpoint.architecture import LinearLayer, Sizes
from enginix.checkpoint.load import Checkpoint
from enginix.checkpoint.tensors import TensorInfo
from enginix.manifest import Limits

GIB = 1024**3

# CUDA context, cuBLAS and NCCL buffers of one rank.
RUNTIME_BYTES = 1 * GIB
# A Python process that has imported torch and TensorRT-LLM.
CONVERTER_BYTES = 3 * GIB

KV_BYTES = {"FP8": 1.0, "INT8": 1.0, "NVFP4": 0.5625, None: 2.0}


@dataclass(frozen=True, slots=True)
class Estimate:
    """All in bytes; a rank's numbers are one GPU's. KV numbers are None for unknown models."""

    weights: int
    rank_weights: int
    rank_workspace: int
    kv_cache_per_token: float | None
    kv_cache_one: int | None
    """One sequence of the full context: without it the model cannot serve its limits."""
    kv_cache_all: int | None
    """As many full sequences as the largest batch."""
    convert_memory: int
    """Host memory of one rank's conversion."""
    disk: int
    """Rank checkpoints and engines, together."""

    @property
    def gpu_least(self) -> int:
        return self.rank_weights + self.rank_workspace + (self.kv_cache_one or 0)

    @property
    def gpu_most(self) -> int:
        return self.rank_weights + self.rank_workspace + (self.kv_cache_all or 0)


def estimate(
    checkpoint: Checkpoint,
    layers: Iterable[LinearLayer],
    sizes: Sizes | None,
    limits: Limits,
    ranks: int,
) -> Estimate:
    tensors, kv_cache_algo = checkpoint.tensors, checkpoint.quantization.kv_cache_algo
    weights = sum(tensor.size_bytes for tensor in tensors.values())
    rank_weights = _rank_weights(tensors, layers if sizes else None, ranks)
    per_token = _kv_cache_per_token(sizes, kv_cache_algo, ranks) if sizes else None
    one = None if per_token is None else round(per_token * limits.max_seq_len)
    # TensorRT-LLM's checkpoint holds the block scales twice, plain and interleaved.
    scales = sum(
        tensor.size_bytes for name, tensor in tensors.items() if name.endswith(".weight_scale")
    )
    return Estimate(
        weights=weights,
        rank_weights=rank_weights,
        rank_workspace=RUNTIME_BYTES + (_activations(sizes, limits, ranks) if sizes else 0),
        kv_cache_per_token=per_token,
        kv_cache_one=one,
        kv_cache_all=None if one is None else one * limits.max_batch_size,
        convert_memory=2 * rank_weights + CONVERTER_BYTES,
        disk=2 * ranks * rank_weights + scales,
    )


def _rank_weights(
    tensors: Mapping[str, TensorInfo], layers: Iterable[LinearLayer] | None, ranks: int
) -> int:
    """Linear layers are divided, everything else is on every rank.

    Without `layers`, of an unknown architecture, every matrix counts as divided.
    """
    divided = {layer.name for layer in layers or () if layer.split != "none"}
    total = 0.0
    for name, tensor in tensors.items():
        is_divided = len(tensor.shape) > 1 if layers is None else name.rpartition(".")[0] in divided
        total += tensor.size_bytes / (ranks if is_divided else 1)
    return round(total)


def _kv_cache_per_token(sizes: Sizes, algo: str | None, ranks: int) -> float:
    heads = max(1, -(-sizes.kv_heads // ranks))
    return 2 * sizes.layers * heads * sizes.head_size * KV_BYTES.get(algo, 2.0)


def _activations(sizes: Sizes, limits: Limits, ranks: int) -> int:
    """The widest tensors of one step in BF16, and the logits in F32."""
    width = 4 * sizes.hidden + 2 * max(sizes.intermediate, sizes.expert_intermediate) // ranks
    width += (sizes.heads + 2 * sizes.kv_heads) * sizes.head_size // ranks
    return 2 * limits.max_num_tokens * width + 4 * limits.max_batch_size * sizes.vocabulary
