"""TensorRT-LLM's QuantConfig for a checkpoint, as plain values for the converter.

`from_hugging_face` reads no quantization file: without the right QuantConfig it warns, pads the
packed weights with zeros, and the engine generates garbage.
"""

from __future__ import annotations

from typing import Any

from enginix.checkpoint.load import Checkpoint
from enginix.engine.trtllm.modules import NVFP4_BLOCK, Decoder, linear_modules
from enginix.errors import CheckpointDamaged, CheckpointUnsupported
from enginix.manifest import Quantization

# TensorRT-LLM's own default patterns. A non-empty list replaces them, so they are repeated.
NEVER_QUANTIZED = (
    "*router",
    "*vocab_embedding",
    "*position_embedding",
    "*block_embedding",
    "*shared_expert_gate",
    "*fused_a",
)
PACKED_TYPES = ("U8", "F8_E4M3")


def quant_config(checkpoint: Checkpoint, decoder: Decoder | None) -> dict[str, Any] | None:
    """The keyword arguments of QuantConfig; None if nothing is quantized."""
    found = checkpoint.quantization
    if found.algo is None:
        _require_plain(checkpoint)
        return None
    assert decoder is not None, "its inspection refuses other quantized models"
    return {
        "quant_algo": found.algo,
        "kv_cache_quant_algo": found.kv_cache_algo,
        **({"group_size": NVFP4_BLOCK} if found.algo == "NVFP4" else {}),
        "exclude_modules": excluded_modules(checkpoint, decoder),
    }


def excluded_modules(checkpoint: Checkpoint, decoder: Decoder) -> list[str]:
    """The modules that are not quantized, by TensorRT-LLM's names.

    Derived from the tensors, because a list of patterns can be wrong.
    """
    plain = [
        module.name
        for module in linear_modules(decoder, ranks=1)
        if not _is_quantized(checkpoint, module.sources)
    ]
    return [*NEVER_QUANTIZED, *plain]


def quantization_of(config: dict[str, Any] | None) -> Quantization:
    """The quantization of a QuantConfig's arguments; `exclude` has TensorRT-LLM's names."""
    if config is None:
        return Quantization(algo=None)
    return Quantization(
        algo=config["quant_algo"],
        kv_cache_algo=config["kv_cache_quant_algo"],
        group_size=config.get("group_size"),
        exclude=list(config["exclude_modules"]),
    )


def _is_quantized(checkpoint: Checkpoint, sources: tuple[str, ...]) -> bool:
    found = {f"{source}.weight_scale" in checkpoint.tensors for source in sources}
    if len(found) > 1:
        raise CheckpointUnsupported(
            f"{checkpoint.directory}: {', '.join(sources)} become one module in TensorRT-LLM, "
            "but only some of them are quantized; choose the llmapi kind"
        )
    return found.pop()


def _require_plain(checkpoint: Checkpoint) -> None:
    for tensor in checkpoint.tensors.values():
        if tensor.dtype in PACKED_TYPES:
            raise CheckpointDamaged(
                f"{checkpoint.directory}: {tensor.name} is {tensor.dtype}, but no file states how "
                "it is quantized; download hf_quant_config.json too"
            )
