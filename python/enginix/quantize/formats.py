"""The formats that ModelOpt makes and that enginix can check afterwards."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Format:
    """`recipe` is ModelOpt's name for it, `algo` what the result must state."""

    recipe: str
    algo: str
    bits: float
    """Of a quantized weight, with its share of the block scales."""
    block: int = 1
    """Weights of a row that share a scale."""


# ModelOpt's AWQ formats are not here: they scale the input of a layer, which engines do not undo.
FORMATS = {
    "nvfp4": Format("NVFP4_DEFAULT_CFG", "NVFP4", 4.5, 16),
    "nvfp4_mlp_only": Format("NVFP4_MLP_ONLY_CFG", "NVFP4", 4.5, 16),
    "w4a16_nvfp4": Format("W4A16_NVFP4_CFG", "W4A16_NVFP4", 4.5, 16),
    "fp8": Format("FP8_DEFAULT_CFG", "FP8", 8),
    "fp8_pc_pt": Format("FP8_PER_CHANNEL_PER_TOKEN_CFG", "FP8_PER_CHANNEL_PER_TOKEN", 8),
}

# Name -> (ModelOpt's name, what the result must state).
KV_CACHES: dict[str, tuple[str | None, str | None]] = {
    "fp8": ("FP8_KV_CFG", "FP8"),
    "none": (None, None),
}
