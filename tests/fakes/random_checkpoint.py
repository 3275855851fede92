"""Writes small checkpoints with random weights, in the form ModelOpt 0.47 exports them.

Sizes are multiples of what TensorRT-LLM's NVFP4 layout needs, for 1, 2 and 4 ranks.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ARCHITECTURES = {
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
}


@dataclass(frozen=True)
class Shape:
    family: str = "qwen3"
    hidden: int = 256
    layers: int = 2
    heads: int = 8
    kv_heads: int = 4
    head_dim: int = 64
    intermediate: int = 512
    vocab: int = 402

    def linears(self) -> dict[str, tuple[int, int]]:
        """Linear layer -> (rows, columns)."""
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        one = {
            "self_attn.q_proj": (query, self.hidden),
            "self_attn.k_proj": (key, self.hidden),
            "self_attn.v_proj": (key, self.hidden),
            "self_attn.o_proj": (self.hidden, query),
            "mlp.gate_proj": (self.intermediate, self.hidden),
            "mlp.up_proj": (self.intermediate, self.hidden),
            "mlp.down_proj": (self.hidden, self.intermediate),
        }
        return {
            f"model.layers.{index}.{name}": size
            for index in range(self.layers)
            for name, size in one.items()
        }

    def norms(self) -> dict[str, int]:
        found = {"model.norm": self.hidden}
        for index in range(self.layers):
            at = f"model.layers.{index}"
            found |= {
                f"{at}.input_layernorm": self.hidden,
                f"{at}.post_attention_layernorm": self.hidden,
            }
            if self.family == "qwen3":
                found |= {f"{at}.self_attn.{each}_norm": self.head_dim for each in "qk"}
        return found

    def config(self) -> dict:
        return {
            "architectures": [ARCHITECTURES[self.family]],
            "model_type": self.family,
            "dtype": "bfloat16",
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-6,
            "rope_theta": 1000000.0,
            "tie_word_embeddings": False,
        }


def write_checkpoint(
    directory: Path, shape: Shape | None = None, *, algo: str | None = "NVFP4", seed: int = 0
) -> Path:
    shape = shape or Shape()
    random = np.random.default_rng(seed)
    tensors: dict[str, tuple[str, np.ndarray]] = {}

    def bf16(*size: int) -> tuple[str, np.ndarray]:
        values = random.standard_normal(size, np.float32)
        return "BF16", (values.view(np.uint32) >> 16).astype(np.uint16)

    tensors["model.embed_tokens.weight"] = bf16(shape.vocab, shape.hidden)
    tensors["lm_head.weight"] = bf16(shape.vocab, shape.hidden)
    for name, size in shape.norms().items():
        tensors[f"{name}.weight"] = bf16(size)
    for name, (rows, columns) in shape.linears().items():
        if algo == "NVFP4":
            tensors |= _nvfp4(name, rows, columns, random)
        elif algo == "FP8":
            tensors |= _fp8(name, rows, columns, random)
        else:
            tensors[f"{name}.weight"] = bf16(rows, columns)
        if shape.family == "qwen2" and name.endswith(("q_proj", "k_proj", "v_proj")):
            tensors[f"{name}.bias"] = bf16(rows)
    directory.mkdir(parents=True)
    write_safetensors(directory / "model.safetensors", tensors)
    (directory / "config.json").write_text(json.dumps(shape.config(), indent=2))
    if algo:
        stated = quantization(algo)
        (directory / "hf_quant_config.json").write_text(json.dumps(stated, indent=2))
    _write_tokenizer(directory)
    return directory


def quantization(algo: str) -> dict:
    stated = {
        "quant_algo": algo,
        "kv_cache_quant_algo": "FP8",
        "exclude_modules": ["lm_head", "model.embed_tokens"],
    }
    if algo == "NVFP4":
        stated["group_size"] = 16
    return {"producer": {"name": "modelopt", "version": "0.47.0"}, "quantization": stated}


def _fp8(
    name: str, rows: int, columns: int, random: np.random.Generator
) -> dict[str, tuple[str, np.ndarray]]:
    """Unlike NVFP4, q, k and v have scales of their own."""
    scales = random.uniform(0.001, 0.002, 2).astype(np.float32)
    found = {
        f"{name}.weight": ("F8_E4M3", _finite_float8(random, (rows, columns))),
        f"{name}.weight_scale": ("F32", np.array(scales[0])),
        f"{name}.input_scale": ("F32", np.array(scales[1])),
    }
    return found | _cache_scale(name)


def _finite_float8(random: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """0x7f and 0xff are NaN in E4M3."""
    return random.integers(0, 0x7E, size, np.uint8) | random.integers(0, 2, size, np.uint8) << 7


def _cache_scale(name: str) -> dict[str, tuple[str, np.ndarray]]:
    letter = name.rpartition(".")[2][0]
    if not name.endswith(("k_proj", "v_proj")):
        return {}
    return {f"{name}.{letter}_scale": ("F32", np.array(np.float32(0.5)))}


def _nvfp4(
    name: str, rows: int, columns: int, random: np.random.Generator
) -> dict[str, tuple[str, np.ndarray]]:
    """Scales stay below 0x7e: 0x7f and 0xff are NaN in E4M3."""
    # ModelOpt gives layers that are fused later, such as q, k and v, one scale.
    scale = np.float32(0.001)
    found = {
        f"{name}.weight": ("U8", random.integers(0, 256, (rows, columns // 2), np.uint8)),
        f"{name}.weight_scale": (
            "F8_E4M3",
            random.integers(1, 0x7E, (rows, columns // 16), np.uint8),
        ),
        f"{name}.weight_scale_2": ("F32", np.array(scale)),
        f"{name}.input_scale": ("F32", np.array(scale * np.float32(3))),
    }
    return found | _cache_scale(name)


def write_safetensors(path: Path, tensors: dict[str, tuple[str, np.ndarray]]) -> None:
    header, offset = {}, 0
    for name, (dtype, data) in tensors.items():
        end = offset + data.nbytes
        header[name] = {"dtype": dtype, "shape": list(data.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, data in tensors.values():
            file.write(data.tobytes())


def _write_tokenizer(directory: Path) -> None:
    tokens = {f"w{index}": index for index in range(64)}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "decoder": {
            "type": "ByteLevel",
            "add_prefix_space": True,
            "trim_offsets": True,
            "use_regex": True,
        },
        "model": {"type": "WordLevel", "vocab": tokens, "unk_token": "w0"},
    }
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    (directory / "tokenizer_config.json").write_text(json.dumps({"eos_token": "w1"}))
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": 1}))
    (directory / "chat_template.jinja").write_text("{{ messages[0].content }}")
