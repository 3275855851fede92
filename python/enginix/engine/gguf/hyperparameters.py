"""The hyperparameters llama.cpp needs, from a config.json of transformers 4 or 5."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from enginix.checkpoint.engine_kinds import GGUF_ARCHITECTURES
from enginix.checkpoint.load import Checkpoint
from enginix.errors import CheckpointDamaged, CheckpointUnsupported

# Type of rotary scaling -> its keys in config.json.
ROPE_KEYS: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "yarn": ("factor", "original_max_position_embeddings"),
    "llama3": (
        "factor",
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
    ),
}

# The values llama.cpp assumes.
YARN_DEFAULTS = {
    "attention_factor": None,
    "mscale": None,
    "mscale_all_dim": None,
    "beta_fast": 32,
    "beta_slow": 1,
}


@dataclass(frozen=True, slots=True)
class Experts:
    count: int
    used: int
    """Active experts per token."""
    intermediate_size: int


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary position embedding. `scaling` holds config.json's keys for non-default types."""

    theta: float
    type: str
    scaling: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    architecture: str
    """llama.cpp's name, such as qwen3moe."""
    layers: int
    hidden_size: int
    intermediate_size: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    context: int
    rms_norm_epsilon: float
    rope: Rope
    experts: Experts | None
    ties_embeddings: bool


def read_hyperparameters(checkpoint: Checkpoint) -> Hyperparameters:
    config = _Config(checkpoint)
    architecture = GGUF_ARCHITECTURES.get(checkpoint.architecture)
    if architecture is None:
        raise CheckpointUnsupported(
            f"{checkpoint.directory}: the architecture is {checkpoint.architecture}, but the gguf "
            f"kind runs {', '.join(GGUF_ARCHITECTURES)}; choose another engine kind for this model"
        )
    _refuse_variations(config)
    hidden_size, heads = config.size("hidden_size"), config.size("num_attention_heads")
    return Hyperparameters(
        architecture=architecture,
        layers=config.size("num_hidden_layers"),
        hidden_size=hidden_size,
        intermediate_size=config.size("intermediate_size"),
        heads=heads,
        kv_heads=config.size("num_key_value_heads", default=heads),
        head_dim=config.size("head_dim", default=hidden_size // heads),
        vocab_size=config.size("vocab_size"),
        context=config.size("max_position_embeddings"),
        rms_norm_epsilon=config.number("rms_norm_eps"),
        rope=_rope(config, architecture),
        experts=_experts(config) if architecture == "qwen3moe" else None,
        ties_embeddings=bool(config.get("tie_word_embeddings", False)),
    )


class _Config:
    """config.json with checked value types; CheckpointDamaged names an invalid value."""

    def __init__(self, checkpoint: Checkpoint, values: Mapping[str, Any] | None = None) -> None:
        self.checkpoint = checkpoint
        self._values = checkpoint.config if values is None else values

    def get(self, key: str, default: object = None) -> Any:
        """The value, or `default` if it is absent or null: transformers writes both."""
        value = self._values.get(key)
        return default if value is None else value

    def values(self) -> Iterable[object]:
        return self._values.values()

    def size(self, *keys: str, default: int | None = None) -> int:
        """The positive integer under the first of `keys` that exists."""
        value = next((found for key in keys if (found := self.get(key)) is not None), default)
        if type(value) is not int or not 0 < value < 2**31:
            raise self.damaged(keys[0], "a positive integer", value)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.damaged(key, "a positive number", value)
        if not math.isfinite(value) or value <= 0:
            raise self.damaged(key, "a positive number", value)
        return float(value)

    def table(self, key: str) -> _Config:
        value = self.get(key, {})
        if not isinstance(value, dict):
            raise self.damaged(key, "an object", value)
        return _Config(self.checkpoint, value)

    def damaged(self, key: str, expected: str, found: object) -> CheckpointDamaged:
        return CheckpointDamaged(
            f"{self.checkpoint.directory / 'config.json'}: {key}: expected {expected}, "
            f"got {found!r:.80}"
        )

    def unsupported(self, what: str) -> CheckpointUnsupported:
        return CheckpointUnsupported(
            f"{self.checkpoint.directory / 'config.json'} has {what}, which llama.cpp does not "
            "compute for this architecture; choose another engine kind for this model"
        )


def _rope(config: _Config, architecture: str) -> Rope:
    # transformers 5 writes rope_parameters with rope_theta inside; 4 writes rope_theta beside
    # rope_scaling, whose rope_type was once called type.
    table = config.table("rope_parameters" if config.get("rope_parameters") else "rope_scaling")
    if any(isinstance(value, dict) for value in table.values()):
        raise config.unsupported("rotary embeddings for each type of layer")
    if any(each.number("partial_rotary_factor", 1.0) != 1.0 for each in (config, table)):
        raise config.unsupported("embeddings that rotate a part of each head")
    kind = table.get("rope_type", table.get("type", "default"))
    # Only llama.cpp's Llama reads the factors of llama3's scaling.
    is_foreign = kind == "llama3" and architecture != "llama"
    if not isinstance(kind, str) or kind not in ROPE_KEYS or is_foreign:
        raise config.unsupported(f"rotary embeddings of type {kind!r:.40}")
    for key, plain in YARN_DEFAULTS.items():
        if kind == "yarn" and table.get(key, plain) != plain:
            raise config.unsupported(f"yarn with {key} {table.get(key)!r:.40}")
    theta = table.number("rope_theta", config.number("rope_theta", 10000.0))
    return Rope(theta, kind, {key: table.number(key) for key in ROPE_KEYS[kind]})


def _experts(config: _Config) -> Experts:
    if not config.get("norm_topk_prob", False):
        raise config.unsupported("experts whose weights are not normalized (norm_topk_prob)")
    if config.get("mlp_only_layers", []) or config.get("decoder_sparse_step", 1) != 1:
        raise config.unsupported("layers without experts (mlp_only_layers, decoder_sparse_step)")
    return Experts(
        # transformers 5 writes num_local_experts.
        count=config.size("num_experts", "num_local_experts"),
        used=config.size("num_experts_per_tok"),
        intermediate_size=config.size("moe_intermediate_size"),
    )


def _refuse_variations(config: _Config) -> None:
    """Refuse settings that llama.cpp's graphs silently ignore, which would give a wrong model."""
    if config.get("use_sliding_window", False):
        raise config.unsupported("sliding window attention (use_sliding_window)")
    if (activation := config.get("hidden_act", "silu")) != "silu":
        raise config.unsupported(f"the activation {activation!r:.40}")
