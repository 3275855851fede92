"""An independent computation of a rank checkpoint's tensors from the checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
WIDTHS = {"U8": 1, "F8_E4M3": 1, "BF16": 2, "F16": 2, "F32": 4}


def read(path: Path) -> dict[str, tuple[str, Bytes]]:
    """Name -> (dtype, bytes with the tensor's shape and one axis more, an element's bytes)."""
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        begin, end = (start + offset for offset in entry["data_offsets"])
        shape = (*entry["shape"], WIDTHS[entry["dtype"]])
        found[name] = (entry["dtype"], np.frombuffer(raw[begin:end], np.uint8).reshape(shape))
    return found


def rows_of(data: Bytes, rank: int, ranks: int) -> Bytes:
    height = data.shape[0] // ranks
    return data[rank * height : (rank + 1) * height]


def columns_of(data: Bytes, rank: int, ranks: int) -> Bytes:
    width = data.shape[1] // ranks
    return data[:, rank * width : (rank + 1) * width]


def interleaved(scales: Bytes) -> Bytes:
    """Byte by byte, by the formula in cuBLAS' documentation."""
    rows, columns, _ = scales.shape
    flat = np.zeros(rows * columns, np.uint8)
    for row in range(rows):
        for column in range(columns):
            tile = (row // 128) * (columns // 4) + column // 4
            inside = (row % 32) * 16 + (row % 128) // 32 * 4 + column % 4
            flat[tile * 512 + inside] = scales[row, column, 0]
    return flat.reshape(rows, columns, 1)


def packed(weight: Bytes, scales: Bytes, one: Bytes, two: Bytes) -> dict[str, Bytes]:
    """The six tensors of an NVFP4 module, from its weight, scales, weight_scale_2, input_scale."""
    product = one.view(np.float32) * two.view(np.float32)
    return {
        "weight": weight,
        "weights_block_scaling_factor": scales,
        "weights_block_scaling_factor_interleaved": interleaved(scales),
        "weights_global_scaling_factor": one.reshape(1, 4),
        "activation_global_scaling_factor": two.reshape(1, 4),
        "alpha": product.view(np.uint8).reshape(1, 4),
    }


def expected_layer(source: dict[str, Bytes], index: int, rank: int, ranks: int) -> dict[str, Bytes]:
    """Every tensor of one Qwen3 layer on one rank."""
    at, ours = f"model.layers.{index}", f"transformer.layers.{index}"

    def module(name: str, cut: object, *sources: str) -> dict[str, Bytes]:
        def part(suffix: str) -> Bytes:
            pieces = [source[f"{at}.{each}.{suffix}"] for each in sources]
            return np.concatenate([cut(piece, rank, ranks) for piece in pieces])

        first = f"{at}.{sources[0]}"
        found = packed(
            part("weight"),
            part("weight_scale"),
            source[f"{first}.weight_scale_2"],
            source[f"{first}.input_scale"],
        )
        return {f"{ours}.{name}.{suffix}": data for suffix, data in found.items()}

    key = source[f"{at}.self_attn.k_proj.k_scale"].view(np.float32)
    value = source[f"{at}.self_attn.v_proj.v_scale"].view(np.float32)
    cache = np.maximum(key, value).reshape(1)
    return {
        **module(
            "attention.qkv", rows_of, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"
        ),
        **module("attention.dense", columns_of, "self_attn.o_proj"),
        **module("mlp.fc", rows_of, "mlp.gate_proj"),
        **module("mlp.gate", rows_of, "mlp.up_proj"),
        **module("mlp.proj", columns_of, "mlp.down_proj"),
        f"{ours}.input_layernorm.weight": source[f"{at}.input_layernorm.weight"],
        f"{ours}.post_layernorm.weight": source[f"{at}.post_attention_layernorm.weight"],
        f"{ours}.attention.q_layernorm.weight": source[f"{at}.self_attn.q_norm.weight"],
        f"{ours}.attention.k_layernorm.weight": source[f"{at}.self_attn.k_norm.weight"],
        f"{ours}.attention.kv_cache_scaling_factor": cache.view(np.uint8).reshape(1, 4),
        f"{ours}.attention.kv_cache_rcp_scaling_factor": (1 / cache).view(np.uint8).reshape(1, 4),
    }


def expected_rank(source: dict[str, Bytes], layers: int, rank: int, ranks: int) -> dict[str, Bytes]:
    head = source["lm_head.weight"]
    missing = -head.shape[0] % ranks
    padded = np.concatenate([head, np.zeros((missing, *head.shape[1:]), np.uint8)])
    found = {
        "transformer.vocab_embedding.weight": source["model.embed_tokens.weight"],
        "transformer.ln_f.weight": source["model.norm.weight"],
        "lm_head.weight": rows_of(padded, rank, ranks),
    }
    for index in range(layers):
        found |= expected_layer(source, index, rank, ranks)
    return found
