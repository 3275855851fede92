"""The rotary position tables of a model, which are written into every rank file.

The original registers them on the model itself, for every rotary position type, as parameters that
have their value from the start: `embed_positions` is always of base 10000 and without scaling.
"""

import math

import numpy as np

from ..tensors import Tensor
from .modeling_utils import PretrainedConfig

NAMES = ("embed_positions", "rotary_inv_freq", "embed_positions_for_gpt_attention")
ORIGINAL = "original_max_position_embeddings"


def rope_tables(config: PretrainedConfig) -> dict[str, Tensor]:
    positions = np.arange(config.max_position_embeddings, dtype=np.float32)
    plain = np.outer(positions, frequencies(config.head_size, 10000.0))
    scaled, factor = scaled_frequencies(config)
    angles = np.outer(positions, scaled)
    pairs = np.stack([np.cos(angles), np.sin(angles)], axis=-1) * np.float32(factor)
    tables = (
        np.concatenate([np.sin(plain), np.cos(plain)], axis=1)[np.newaxis],
        scaled,
        pairs.reshape(1, -1),
    )
    return {
        name: Tensor("F32", np.ascontiguousarray(table, np.float32))
        for name, table in zip(NAMES, tables, strict=True)
    }


def table_shapes(config: PretrainedConfig) -> dict[str, tuple[int, ...]]:
    length, size = config.max_position_embeddings, config.head_size
    return dict(zip(NAMES, ((1, length, size), (size // 2,), (1, length * size)), strict=True))


def frequencies(size: int, base: float) -> np.ndarray:
    return np.float32(1) / (base ** (np.arange(0, size, 2) / size)).astype(np.float32)


def scaled_frequencies(config: PretrainedConfig) -> tuple[np.ndarray, float]:
    """As config.json's rope_scaling says, and what sine and cosine are multiplied with."""
    scaling, base, size = config.rotary_scaling, config.rotary_base, config.head_size
    plain = frequencies(size, base)
    if scaling is None:
        return plain, 1.0
    match scaling.get("type", scaling.get("rope_type")):
        case "none":
            return plain, 1.0
        case "linear":
            return np.float32(1 / scaling["factor"]) * plain, 1.0
        case "llama3":
            return llama3_frequencies(plain, scaling), 1.0
        case "yarn":
            return yarn_frequencies(size, base, scaling), yarn_factor(scaling)
        case "dynamic":
            # Only Hunyuan's, which states alpha.
            return frequencies(size, base * scaling["alpha"] ** (size / (size - 2))), 1.0
        case "longrope" | "mrope" as kind:
            raise NotImplementedError(f"the stand-in does not imitate {kind}")
        case kind:
            # Also transformers' "default".
            raise ValueError(f"Unsupported rotary scaling type: {kind}")


def llama3_frequencies(plain: np.ndarray, scaling: dict) -> np.ndarray:
    """Long waves are stretched, short ones kept, those between mixed."""
    factor, original = scaling.get("factor", 8.0), scaling.get(ORIGINAL, 8192)
    low, high = scaling.get("low_freq_factor", 1.0), scaling.get("high_freq_factor", 4.0)
    turns = original * plain / (2 * math.pi)
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return ((1 - kept) * plain / factor + kept * plain).astype(np.float32)


def yarn_frequencies(size: int, base: float, scaling: dict) -> np.ndarray:
    original = scaling.get(ORIGINAL, 4096)

    def dimension(rotations: float) -> float:
        """The one that turns so often within the original context."""
        return size * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(base))

    first = max(math.floor(dimension(scaling.get("beta_fast", 32.0))), 0)
    last = min(math.ceil(dimension(scaling.get("beta_slow", 1.0))), size - 1)
    width = last - first or 0.001
    stretched = np.clip((np.arange(size // 2, dtype=np.float32) - first) / width, 0, 1)
    plain = frequencies(size, base)
    return (plain / scaling["factor"] * stretched + plain * (1 - stretched)).astype(np.float32)


def yarn_factor(scaling: dict) -> float:
    def scale(weight: float) -> float:
        return 0.1 * weight * math.log(scaling["factor"]) + 1 if scaling["factor"] > 1 else 1.0

    return scale(scaling.get("mscale", 1.0)) / scale(scaling.get("mscale_all_dim", 0.0))
