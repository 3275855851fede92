"""Small complete checkpoints of many architectures, with every tensor named by hand.

By hand, because names made by the code under test would prove nothing.
"""

from __future__ import annotations

import struct
from math import prod
from pathlib import Path
from typing import Any

from checkpoint.files import safetensors, write_json

from enginix.checkpoint.tensors import DTYPE_BITS

Tensors = dict[str, tuple[str, list[int], bytes]]

HIDDEN, HEADS, KV_HEADS, HEAD, INNER, VOCABULARY, EXPERTS = 128, 4, 2, 32, 256, 64, 4
LINEAR = {
    "self_attn.q_proj": (HEADS * HEAD, HIDDEN),
    "self_attn.k_proj": (KV_HEADS * HEAD, HIDDEN),
    "self_attn.v_proj": (KV_HEADS * HEAD, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HEADS * HEAD),
}
MLP = {
    "mlp.gate_proj": (INNER, HIDDEN),
    "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
}
NVFP4 = {
    "producer": {"name": "modelopt", "version": "0.47.0"},
    "quantization": {
        "quant_algo": "NVFP4",
        "kv_cache_quant_algo": "FP8",
        "group_size": 16,
        "exclude_modules": ["lm_head", "*.mlp.gate", "*.block_sparse_moe.gate"],
    },
}


def config(architecture: str, **changes: Any) -> dict[str, Any]:
    return {
        "architectures": [architecture],
        "hidden_size": HIDDEN,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD,
        "intermediate_size": INNER,
        "num_hidden_layers": 2,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": False,
        **changes,
    }


def plain(*shape: int, dtype: str = "BF16") -> tuple[str, list[int], bytes]:
    return dtype, list(shape), bytes(prod(shape) * DTYPE_BITS[dtype] // 8)


def number(value: float) -> tuple[str, list[int], bytes]:
    return "F32", [], struct.pack("<f", value)


def nvfp4(name: str, rows: int, columns: int) -> Tensors:
    return {
        f"{name}.weight": plain(rows, columns // 2, dtype="U8"),
        f"{name}.weight_scale": plain(rows, columns // 16, dtype="F8_E4M3"),
        f"{name}.weight_scale_2": number(0.5),
        f"{name}.input_scale": number(0.25),
    }


def linear(name: str, rows: int, columns: int, quantized: bool) -> Tensors:
    return nvfp4(name, rows, columns) if quantized else {f"{name}.weight": plain(rows, columns)}


def layer(index: int, linears: dict[str, tuple[int, int]], quantized: bool) -> Tensors:
    prefix = f"model.layers.{index}"
    tensors: Tensors = {
        f"{prefix}.input_layernorm.weight": plain(HIDDEN),
        f"{prefix}.post_attention_layernorm.weight": plain(HIDDEN),
    }
    for name, (rows, columns) in linears.items():
        tensors |= linear(f"{prefix}.{name}", rows, columns, quantized)
    if quantized:
        tensors[f"{prefix}.self_attn.k_proj.k_scale"] = number(1.0)
        tensors[f"{prefix}.self_attn.v_proj.v_scale"] = number(1.0)
    return tensors


def around() -> Tensors:
    return {
        "model.embed_tokens.weight": plain(VOCABULARY, HIDDEN),
        "model.norm.weight": plain(HIDDEN),
        "lm_head.weight": plain(VOCABULARY, HIDDEN),
    }


def llama(quantized: bool) -> Tensors:
    return around() | layer(0, LINEAR | MLP, quantized) | layer(1, LINEAR | MLP, quantized)


def qwen2(quantized: bool) -> Tensors:
    tensors = llama(quantized)
    for index in range(2):
        for name in ("q", "k", "v"):
            rows = LINEAR[f"self_attn.{name}_proj"][0]
            tensors[f"model.layers.{index}.self_attn.{name}_proj.bias"] = plain(rows)
    return tensors


def qwen3(quantized: bool) -> Tensors:
    return llama(quantized) | query_key_norms()


def query_key_norms() -> Tensors:
    return {
        f"model.layers.{index}.self_attn.{name}_norm.weight": plain(HEAD)
        for index in range(2)
        for name in ("q", "k")
    }


def qwen3_moe(quantized: bool) -> Tensors:
    tensors = around() | query_key_norms()
    for index in range(2):
        tensors |= layer(index, LINEAR, quantized)
        prefix = f"model.layers.{index}.mlp"
        tensors[f"{prefix}.gate.weight"] = plain(EXPERTS, HIDDEN)
        for expert in range(EXPERTS):
            where = f"{prefix}.experts.{expert}"
            tensors |= linear(f"{where}.gate_proj", 128, HIDDEN, quantized)
            tensors |= linear(f"{where}.up_proj", 128, HIDDEN, quantized)
            tensors |= linear(f"{where}.down_proj", HIDDEN, 128, quantized)
    return tensors


def mixtral(quantized: bool) -> Tensors:
    tensors = around()
    for index in range(2):
        tensors |= layer(index, LINEAR, quantized)
        prefix = f"model.layers.{index}.block_sparse_moe"
        tensors[f"{prefix}.gate.weight"] = plain(EXPERTS, HIDDEN)
        for expert in range(EXPERTS):
            where = f"{prefix}.experts.{expert}"
            tensors |= linear(f"{where}.w1", INNER, HIDDEN, quantized)
            tensors |= linear(f"{where}.w3", INNER, HIDDEN, quantized)
            tensors |= linear(f"{where}.w2", HIDDEN, INNER, quantized)
    return tensors


def phi3(quantized: bool) -> Tensors:
    linears = {
        "self_attn.qkv_proj": ((HEADS + 2 * KV_HEADS) * HEAD, HIDDEN),
        "self_attn.o_proj": (HIDDEN, HEADS * HEAD),
        "mlp.gate_up_proj": (2 * INNER, HIDDEN),
        "mlp.down_proj": (HIDDEN, INNER),
    }
    tensors = around()
    for index in range(2):
        tensors |= layer(index, linears, quantized)
    # Fused projections have no k_proj that could carry the scales.
    return {
        name: value for name, value in tensors.items() if not name.endswith(("k_scale", "v_scale"))
    }


MODELS = {
    "LlamaForCausalLM": (llama, {}),
    "MistralForCausalLM": (llama, {"sliding_window": None}),
    "Qwen2ForCausalLM": (qwen2, {}),
    "Qwen3ForCausalLM": (qwen3, {}),
    "Qwen3MoeForCausalLM": (qwen3_moe, {"num_experts": EXPERTS, "moe_intermediate_size": 128}),
    "MixtralForCausalLM": (mixtral, {"num_local_experts": EXPERTS}),
    "Phi3ForCausalLM": (phi3, {}),
}


def write_model(
    directory: Path, settings: dict[str, Any], tensors: Tensors, quantized: bool
) -> Path:
    """A checkpoint of one file; if quantized, NVFP4 as ModelOpt states it."""
    directory.mkdir(exist_ok=True)
    write_json(directory / "config.json", settings)
    if quantized:
        write_json(directory / "hf_quant_config.json", NVFP4)
    (directory / "model.safetensors").write_bytes(safetensors(tensors))
    return directory
