"""The sizes, linear layers and other tensors of a model of a known architecture.

Derived from config.json alone, so that they can be compared with the files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from enginix.errors import CheckpointDamaged

Split = Literal["rows", "columns", "none"]
"""How tensor parallel divides a weight: its rows are outputs, its columns are inputs."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The numbers of config.json that tensor shapes and memory follow from."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    intermediate: int
    vocabulary: int
    context: int
    tied_embeddings: bool
    experts: int = 0
    expert_intermediate: int = 0
    shared_expert_intermediate: int = 0


@dataclass(frozen=True, slots=True)
class LinearLayer:
    """`role` is the projection's own name; `quantizable` is false for routers."""

    name: str
    role: str
    rows: int
    columns: int
    split: Split
    bias: bool = False
    quantizable: bool = True


@dataclass(frozen=True, slots=True)
class Experts:
    """How an architecture names its experts' projections."""

    block: str = "mlp"
    gate: str = "gate_proj"
    up: str = "up_proj"
    down: str = "down_proj"


@dataclass(frozen=True, slots=True)
class Family:
    """How a Llama-like decoder differs from Llama."""

    query_key_norm: bool = False
    qkv_bias: bool = False
    fused: bool = False
    experts: Experts | None = None


FAMILIES: dict[str, Family] = {
    "LlamaForCausalLM": Family(),
    "MistralForCausalLM": Family(),
    "Qwen2ForCausalLM": Family(qkv_bias=True),
    "Qwen3ForCausalLM": Family(query_key_norm=True),
    "Phi3ForCausalLM": Family(fused=True),
    "MixtralForCausalLM": Family(experts=Experts("block_sparse_moe", "w1", "w3", "w2")),
    "Qwen2MoeForCausalLM": Family(qkv_bias=True, experts=Experts()),
    "Qwen3MoeForCausalLM": Family(query_key_norm=True, experts=Experts()),
}

WINDOWED = FAMILIES.keys() - {"LlamaForCausalLM"}
"""Those whose attention may have a sliding window, which TensorRT-LLM's converter ignores."""


def is_dense(family: Family) -> bool:
    """Whether its projections are separate matrices, and no layer has experts."""
    return not family.fused and family.experts is None


def has_plain_layers(architecture: str, config: Mapping[str, Any]) -> bool:
    """Whether the linear layers are those of a dense Llama, with no biases but Qwen2's own."""
    family = FAMILIES.get(architecture)
    biased = any(config.get(key) is True for key in ("attention_bias", "mlp_bias"))
    return family is not None and is_dense(family) and not biased


def sliding_window(architecture: str, config: Mapping[str, Any]) -> int | None:
    """How many tokens each token of a known model attends to, if not to all before it."""
    if architecture not in WINDOWED:
        return None
    window = config.get("sliding_window")
    # Mistral has no switch, and Qwen's is off unless stated.
    is_used = config.get("use_sliding_window", not architecture.startswith("Qwen"))
    return window if type(window) is int and is_used is True else None


def read_sizes(path: Path, config: Mapping[str, Any]) -> Sizes:
    """`path` is config.json's, for messages; CheckpointDamaged names the invalid key."""
    text = config.get("text_config")
    numbers = _Numbers(path, text if isinstance(text, dict) else config)
    hidden, heads = numbers.take("hidden_size"), numbers.take("num_attention_heads")
    # transformers 5 renamed num_experts; Mixtral's experts have the model's intermediate_size.
    experts = numbers.take("num_experts", "num_local_experts", default=0)
    intermediate = numbers.take("intermediate_size")
    return Sizes(
        layers=numbers.take("num_hidden_layers"),
        hidden=hidden,
        heads=heads,
        kv_heads=numbers.take("num_key_value_heads", default=heads),
        head_size=numbers.take("head_dim", default=hidden // heads),
        intermediate=intermediate,
        vocabulary=numbers.take("vocab_size"),
        context=numbers.take("max_position_embeddings", default=0),
        tied_embeddings=bool(numbers.config.get("tie_word_embeddings", False)),
        experts=experts,
        expert_intermediate=(
            numbers.take("moe_intermediate_size", default=intermediate) if experts else 0
        ),
        shared_expert_intermediate=numbers.take("shared_expert_intermediate_size", default=0),
    )


def linear_layers(family: Family, sizes: Sizes, config: Mapping[str, Any]) -> Iterator[LinearLayer]:
    """Every linear layer of the model, the output head last."""
    for index in range(sizes.layers):
        layer = f"model.layers.{index}"
        yield from _attention(family, sizes, config, f"{layer}.self_attn")
        if family.experts and _has_experts(sizes, config, index):
            yield from _experts(family.experts, sizes, f"{layer}.{family.experts.block}")
        else:
            bias = config.get("mlp_bias") is True
            yield from _mlp(f"{layer}.mlp", sizes.hidden, sizes.intermediate, family.fused, bias)
    if not sizes.tied_embeddings:
        yield LinearLayer("lm_head", "lm_head", sizes.vocabulary, sizes.hidden, "rows")


def other_tensors(family: Family, sizes: Sizes) -> Iterator[tuple[str, tuple[int, ...]]]:
    """(name, shape) of every tensor that belongs to no linear layer: embeddings and norms."""
    yield "model.embed_tokens.weight", (sizes.vocabulary, sizes.hidden)
    yield "model.norm.weight", (sizes.hidden,)
    for index in range(sizes.layers):
        layer = f"model.layers.{index}"
        yield f"{layer}.input_layernorm.weight", (sizes.hidden,)
        yield f"{layer}.post_attention_layernorm.weight", (sizes.hidden,)
        if family.query_key_norm:
            yield f"{layer}.self_attn.q_norm.weight", (sizes.head_size,)
            yield f"{layer}.self_attn.k_norm.weight", (sizes.head_size,)


def _attention(
    family: Family, sizes: Sizes, config: Mapping[str, Any], name: str
) -> Iterator[LinearLayer]:
    stated = config.get("attention_bias") is True
    bias = family.qkv_bias or stated
    queries, keys = sizes.heads * sizes.head_size, sizes.kv_heads * sizes.head_size
    parts = (
        [("qkv_proj", queries + 2 * keys)]
        if family.fused
        else [("q_proj", queries), ("k_proj", keys), ("v_proj", keys)]
    )
    for role, rows in parts:
        yield LinearLayer(f"{name}.{role}", role, rows, sizes.hidden, "rows", bias)
    yield LinearLayer(f"{name}.o_proj", "o_proj", sizes.hidden, queries, "columns", stated)


def _mlp(
    name: str, hidden: int, intermediate: int, fused: bool, bias: bool = False
) -> Iterator[LinearLayer]:
    parts = (
        [("gate_up_proj", 2 * intermediate)]
        if fused
        else [("gate_proj", intermediate), ("up_proj", intermediate)]
    )
    for role, rows in parts:
        yield LinearLayer(f"{name}.{role}", role, rows, hidden, "rows", bias)
    yield LinearLayer(f"{name}.down_proj", "down_proj", hidden, intermediate, "columns", bias)


def _experts(names: Experts, sizes: Sizes, block: str) -> Iterator[LinearLayer]:
    hidden, inner = sizes.hidden, sizes.expert_intermediate
    yield _router(f"{block}.gate", "router", sizes.experts, hidden)
    for index in range(sizes.experts):
        expert = f"{block}.experts.{index}"
        yield LinearLayer(f"{expert}.{names.gate}", "gate_proj", inner, hidden, "rows")
        yield LinearLayer(f"{expert}.{names.up}", "up_proj", inner, hidden, "rows")
        yield LinearLayer(f"{expert}.{names.down}", "down_proj", hidden, inner, "columns")
    if sizes.shared_expert_intermediate:
        yield _router(f"{block}.shared_expert_gate", "shared_expert_gate", 1, hidden)
        inner = sizes.shared_expert_intermediate
        yield from _mlp(f"{block}.shared_expert", hidden, inner, fused=False)


def _router(name: str, role: str, rows: int, columns: int) -> LinearLayer:
    return LinearLayer(name, role, rows, columns, "none", quantizable=False)


def _has_experts(sizes: Sizes, config: Mapping[str, Any], index: int) -> bool:
    dense, step = config.get("mlp_only_layers"), config.get("decoder_sparse_step")
    if isinstance(dense, list) and index in dense:
        return False
    every = step if isinstance(step, int) and step > 0 else 1
    return sizes.experts > 0 and (index + 1) % every == 0


class _Numbers:
    def __init__(self, path: Path, config: Mapping[str, Any]) -> None:
        self.path = path
        self.config = config

    def take(self, *keys: str, default: int | None = None) -> int:
        """The number under the first of `keys` that exists and is not null."""
        key = next((key for key in keys if self.config.get(key) is not None), keys[0])
        value = self.config.get(key)
        if value is None and default is not None:
            return default
        if type(value) is not int or not 0 <= value < 2**40 or (value == 0 and default != 0):
            raise CheckpointDamaged(
                f"{self.path}: {key}: expected a positive integer, got {value!r:.80}"
            )
        return value
