"""Makes checkpoints of any size with random weights, laid out as ModelOpt and transformers do.

    python make_random.py OUT --megabytes 500
    python make_random.py OUT --architecture qwen3moe --experts 8 --weights bf16 --shards 3

They answer nonsense; they are for measuring, and for testing what reads checkpoints. Needs numpy
alone, and no memory but for one tensor. The tokenizer is the demo checkpoint's.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

DEMO = Path(__file__).parents[2] / "python" / "enginix" / "catalog" / "checkpoints" / "demo"
TOKENIZER_FILES = (
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
)

CLASSES = {
    "qwen3": "Qwen3ForCausalLM",
    "qwen3moe": "Qwen3MoeForCausalLM",
    "llama": "LlamaForCausalLM",
}
MODEL_TYPES = {"qwen3": "qwen3", "qwen3moe": "qwen3_moe", "llama": "llama"}
DTYPES = {"nvfp4": "BF16", "bf16": "BF16", "fp16": "F16"}
DTYPE_BYTES = {"U8": 1, "F8_E4M3": 1, "BF16": 2, "F16": 2, "F32": 4}

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """What is random, and how much of it. `experts` counts for qwen3moe alone."""

    architecture: str = "qwen3"
    weights: str = "nvfp4"
    hidden: int = 192
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    intermediate: int = 384
    vocab: int = 2048
    context: int = 4096
    experts: int = 8
    experts_used: int = 2
    expert_intermediate: int = 128
    tied: bool = False
    shards: int = 1
    transformers: int = 4
    """The major version whose names config.json has: 4 or 5."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Tensor:
    name: str
    dtype: str
    shape: tuple[int, ...]
    make: Callable[[np.random.Generator, tuple[int, ...]], Array]

    @property
    def size_bytes(self) -> int:
        return prod(self.shape) * DTYPE_BYTES[self.dtype]


def make_checkpoint(
    directory: Path, shape: Shape | None = None, config: Mapping[str, object] | None = None
) -> Path:
    """Write a checkpoint into the new `directory`; `config` goes over its config.json."""
    shape = shape or Shape()
    directory.mkdir(parents=True)
    files = shard_names(shape.shards)
    random = np.random.default_rng(shape.seed)
    weight_map: dict[str, str] = {}
    for name, part in zip(files, split(list(tensors_of(shape)), shape.shards), strict=True):
        write_safetensors(directory / name, part, random)
        weight_map |= {tensor.name: name for tensor in part}
    if shape.shards > 1:
        write_json(directory / "model.safetensors.index.json", {"weight_map": weight_map})
    write_json(directory / "config.json", {**config_of(shape), **(config or {})})
    if shape.weights == "nvfp4":
        write_json(directory / "hf_quant_config.json", quantization_of(shape))
    for name in TOKENIZER_FILES:
        shutil.copyfile(DEMO / name, directory / name)
    return directory


def shape_of_size(megabytes: int, weights: str = "nvfp4") -> Shape:
    """A Qwen3 of about that size, at least 150, with layers as in the 0.6 B model."""
    layer = Shape(
        weights=weights, hidden=1024, layers=1, heads=16, kv_heads=8, head_dim=128,
        intermediate=3072, vocab=32768,
    )  # fmt: skip
    without, with_one = (
        sum(tensor.size_bytes for tensor in tensors_of(replace(layer, layers=count)))
        for count in (0, 1)
    )
    layers = round((megabytes * 1e6 - without) / (with_one - without))
    return replace(layer, layers=max(layers, 1))


def tensors_of(shape: Shape) -> Iterator[Tensor]:
    """In the order transformers saves them, which is no rule of the format."""
    yield plain("model.embed_tokens", (shape.vocab, shape.hidden), shape)
    for layer in range(shape.layers):
        at = f"model.layers.{layer}"
        yield norm(f"{at}.input_layernorm", shape.hidden, shape)
        for name, (rows, columns) in matrices(shape).items():
            yield from matrix(f"{at}.{name}", (rows, columns), shape)
        if shape.architecture == "qwen3moe":
            yield plain(f"{at}.mlp.gate", (shape.experts, shape.hidden), shape)
        yield norm(f"{at}.post_attention_layernorm", shape.hidden, shape)
        if shape.architecture != "llama":
            yield norm(f"{at}.self_attn.k_norm", shape.head_dim, shape)
            yield norm(f"{at}.self_attn.q_norm", shape.head_dim, shape)
    yield norm("model.norm", shape.hidden, shape)
    if not shape.tied:
        yield plain("lm_head", (shape.vocab, shape.hidden), shape)


def matrices(shape: Shape) -> dict[str, tuple[int, int]]:
    """The linear layers of one layer: name -> (outputs, inputs)."""
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    found = {
        "self_attn.q_proj": (queries, shape.hidden),
        "self_attn.k_proj": (keys, shape.hidden),
        "self_attn.v_proj": (keys, shape.hidden),
        "self_attn.o_proj": (shape.hidden, queries),
    }
    if shape.architecture != "qwen3moe":
        return found | feed_forward("mlp", shape.hidden, shape.intermediate)
    for expert in range(shape.experts):
        at = f"mlp.experts.{expert}"
        found |= feed_forward(at, shape.hidden, shape.expert_intermediate)
    return found


def feed_forward(at: str, hidden: int, intermediate: int) -> dict[str, tuple[int, int]]:
    return {
        f"{at}.gate_proj": (intermediate, hidden),
        f"{at}.up_proj": (intermediate, hidden),
        f"{at}.down_proj": (hidden, intermediate),
    }


def matrix(name: str, size: tuple[int, int], shape: Shape) -> Iterator[Tensor]:
    if shape.weights != "nvfp4":
        yield plain(name, size, shape)
        return
    rows, columns = size
    yield Tensor(f"{name}.weight", "U8", (rows, columns // 2), random_bytes)
    yield Tensor(f"{name}.weight_scale", "F8_E4M3", (rows, columns // 16), random_scales)
    yield Tensor(f"{name}.weight_scale_2", "F32", (), random_factor)
    yield Tensor(f"{name}.input_scale", "F32", (), random_factor)
    # The FP8 KV cache's, which ModelOpt puts beside the projection that fills it.
    if name.endswith(("k_proj", "v_proj")):
        yield Tensor(f"{name}.{name[-6]}_scale", "F32", (), random_factor)


def plain(name: str, size: tuple[int, ...], shape: Shape) -> Tensor:
    dtype = DTYPES[shape.weights]
    return Tensor(f"{name}.weight", dtype, size, MAKE_PLAIN[dtype])


def norm(name: str, size: int, shape: Shape) -> Tensor:
    dtype = DTYPES[shape.weights]
    one = np.uint16(0x3F80 if dtype == "BF16" else 0x3C00)
    return Tensor(f"{name}.weight", dtype, (size,), lambda _, size: np.full(size, one))


def random_bytes(random: np.random.Generator, size: tuple[int, ...]) -> Array:
    return np.frombuffer(random.bytes(prod(size)), np.uint8)


def random_scales(random: np.random.Generator, size: tuple[int, ...]) -> Array:
    """E4M3 numbers from 0 to 448: above are NaN and the negative ones."""
    return random.integers(0, 0x7F, size, np.uint8)


def random_factor(random: np.random.Generator, size: tuple[int, ...]) -> Array:
    return random.uniform(1e-4, 3e-4, size or 1).astype(np.float32)


def random_bf16(random: np.random.Generator, size: tuple[int, ...]) -> Array:
    return random_16_bits(random, size, sign_and_mantissa=0x807F, smallest=0x3C00, step=0x0080)


def random_f16(random: np.random.Generator, size: tuple[int, ...]) -> Array:
    return random_16_bits(random, size, sign_and_mantissa=0x83FF, smallest=0x2000, step=0x0400)


def random_16_bits(
    random: np.random.Generator,
    size: tuple[int, ...],
    *,
    sign_and_mantissa: int,
    smallest: int,
    step: int,
) -> Array:
    """Numbers between 1/128 and 1/8, made of their bits: many times faster than drawing floats."""
    bits = np.frombuffer(random.bytes(2 * prod(size)), np.uint16).reshape(size)
    octave = random.bytes(1)[0] & 3
    return bits & np.uint16(sign_and_mantissa) | np.uint16(smallest + octave * step)


MAKE_PLAIN = {"BF16": random_bf16, "F16": random_f16}


def shard_names(count: int) -> list[str]:
    if count == 1:
        return ["model.safetensors"]
    return [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]


def split(tensors: Sequence[Tensor], count: int) -> list[list[Tensor]]:
    """Runs of about the same size in bytes."""
    total = sum(tensor.size_bytes for tensor in tensors)
    shards: list[list[Tensor]] = [[] for _ in range(count)]
    before = 0
    for tensor in tensors:
        shards[min(before * count // total, count - 1)].append(tensor)
        before += tensor.size_bytes
    return shards


def write_safetensors(path: Path, tensors: Sequence[Tensor], random: np.random.Generator) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        start, end = end, end + tensor.size_bytes
        header[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "data_offsets": [start, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("xb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors:
            file.write(np.ascontiguousarray(tensor.make(random, tensor.shape)).data)


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def config_of(shape: Shape) -> dict[str, object]:
    config: dict[str, object] = {
        "architectures": [CLASSES[shape.architecture]],
        "attention_bias": False,
        "bos_token_id": 2012,
        "eos_token_id": 2014,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "max_position_embeddings": shape.context,
        "model_type": MODEL_TYPES[shape.architecture],
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": shape.tied,
        "vocab_size": shape.vocab,
    }
    dtype = "float16" if shape.weights == "fp16" else "bfloat16"
    is_new = shape.transformers >= 5
    if shape.architecture == "qwen3moe":
        config |= {
            "num_local_experts" if is_new else "num_experts": shape.experts,
            "num_experts_per_tok": shape.experts_used,
            "moe_intermediate_size": shape.expert_intermediate,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
            "norm_topk_prob": True,
        }
    if is_new:
        rope = {"rope_theta": 1000000.0, "rope_type": "default"}
        return config | {"dtype": dtype, "rope_parameters": rope}
    return config | {"torch_dtype": dtype, "rope_theta": 1000000.0, "rope_scaling": None}


def quantization_of(shape: Shape) -> dict[str, object]:
    routers = [f"model.layers.{layer}.mlp.gate" for layer in range(shape.layers)]
    excluded = ["lm_head", "model.embed_tokens"]
    return {
        "producer": {"name": "modelopt", "version": "0.47.0"},
        "quantization": {
            "quant_algo": "NVFP4",
            "kv_cache_quant_algo": "FP8",
            "group_size": 16,
            "exclude_modules": excluded + (routers if shape.architecture == "qwen3moe" else []),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a checkpoint with random weights.")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--megabytes", type=int, metavar="N", help="a Qwen3 of about that size")
    choices: dict[str, list[Any]] = {
        "architecture": list(CLASSES),
        "weights": list(DTYPES),
        "transformers": [4, 5],
    }
    for field in fields(Shape):
        flag = f"--{field.name.replace('_', '-')}"
        if isinstance(field.default, bool):
            parser.add_argument(flag, action="store_true", default=None)
        else:
            parser.add_argument(flag, type=type(field.default), choices=choices.get(field.name))
    args = vars(parser.parse_args())
    out, megabytes = args.pop("out"), args.pop("megabytes")
    given = {name: value for name, value in args.items() if value is not None}
    shape = shape_of_size(megabytes, given.get("weights", "nvfp4")) if megabytes else Shape()
    make_checkpoint(out, replace(shape, **given))
    size = sum(path.stat().st_size for path in out.iterdir())
    print(f"{out}: {replace(shape, **given)}, {size / 1e6:,.1f} MB")


if __name__ == "__main__":
    main()
