"""Estimates what quantizing needs, and chooses where to run it; refuses what cannot fit.

The numbers are lower bounds: weights, one sample's activations, and the libraries themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from enginix.checkpoint.inspect import Inspection
from enginix.errors import BuildError
from enginix.quantize.formats import Format

MB = 1_000_000
# torch, transformers and ModelOpt in one process; with CUDA, its context too.
LIBRARIES = 600 * MB
CUDA_LIBRARIES = 3000 * MB
CUDA_CONTEXT = 1000 * MB


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes."""

    cpu: int
    """Host memory if it runs on the CPU."""
    gpu: int
    """Memory of all GPUs together, if it runs on them."""
    host: int
    """Host memory beside the GPUs."""
    disk: int


@dataclass(frozen=True, slots=True)
class Gpu:
    name: str
    free: int


def estimate(found: Inspection, format: Format, length: int, *, evaluates: bool) -> Needs:
    tensors = found.checkpoint.tensors
    # Weights are loaded in 16 bits, and to be measured on a CPU in 32.
    elements = {name: prod(tensor.shape) for name, tensor in tensors.items()}
    weights = 2 * sum(elements.values())
    vocabulary = found.checkpoint.config.get("vocab_size")
    logits = 6 * length * vocabulary if isinstance(vocabulary, int) else 0
    files: dict[str, int] = {}
    for tensor in tensors.values():
        files[str(tensor.file)] = files.get(str(tensor.file), 0) + tensor.size_bytes
    linear = sum(elements.get(f"{layer.name}.weight", 0) for layer in found.layers)
    return Needs(
        cpu=(2 if evaluates else 1) * weights + logits + LIBRARIES,
        gpu=weights + logits + CUDA_CONTEXT,
        host=max(files.values(), default=0) + CUDA_LIBRARIES,
        # Of an unknown architecture nothing says which weights get smaller.
        disk=round(weights - linear * (2 - format.bits / 8)),
    )


def choose_device(choice: str, needs: Needs, gpus: Sequence[Gpu], memory: int) -> str:
    """`cpu` or `cuda`, for a choice of those or `auto`; `memory` is the host's available bytes.

    BuildError with the numbers if the model does not fit there.
    """
    free = sum(gpu.free for gpu in gpus)
    on_gpu = bool(gpus) and needs.gpu <= free and needs.host <= memory
    if choice == "cuda" and not gpus:
        raise BuildError(
            "--device cuda: ModelOpt's torch finds no GPU; check the driver with `enginix doctor` "
            "and whether that torch was built for CUDA, or leave the option out"
        )
    if choice != "cpu" and on_gpu:
        return "cuda"
    if choice != "cuda" and needs.cpu <= memory:
        return "cpu"
    reasons = []
    if choice != "cpu" and gpus:
        reasons.append(
            f"on the GPU it needs at least {_gb(needs.gpu)}, and {_gb(needs.host)} of host memory, "
            f"but {_gb(free)} and {_gb(memory)} are free"
        )
    if choice != "cuda":
        reasons.append(
            f"on the CPU it needs at least {_gb(needs.cpu)} of memory, but {_gb(memory)} are free"
        )
    raise BuildError(
        f"the model does not fit: {'; '.join(reasons)}; free some memory, or use a larger machine"
    )


def _gb(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"
