"""Record what ModelOpt writes: small checkpoints, and the rank files of its TensorRT-LLM exporter.

    python record.py DIRECTORY

For each family it makes a small random model, quantizes it to NVFP4 with an FP8 KV cache on the
CPU, and exports it twice: as a Hugging Face checkpoint, which is kept, and as TensorRT-LLM rank
files for every number of ranks, of which only names, types, shapes and hashes are kept.
"""

from __future__ import annotations

import copy
import json
import shutil
import sys
import tempfile
import warnings
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import modelopt.torch.quantization as mtq
import numpy as np
import torch
import transformers
from modelopt.torch.export import export_hf_checkpoint, export_tensorrt_llm_checkpoint
from safetensors import safe_open

RANKS = (1, 2, 4)
DTYPES = {
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float32: "F32",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.uint8: "U8",
}

# As small as TensorRT-LLM can take on four ranks: block scales lie in tiles of 128 rows and 4
# columns, and each rank needs a key-value head and whole tiles of every module.
SIZES: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": False,
}


@dataclass(frozen=True)
class Family:
    """`decoder` is ModelOpt's name for the model's kind."""

    model: str
    config: str
    decoder: str


FAMILIES = {
    "qwen3": Family("Qwen3ForCausalLM", "Qwen3Config", "qwen"),
    "qwen2": Family("Qwen2ForCausalLM", "Qwen2Config", "qwen"),
    "llama": Family("LlamaForCausalLM", "LlamaConfig", "llama"),
    "mistral": Family("MistralForCausalLM", "MistralConfig", "llama"),
}


def main(directory: Path) -> None:
    warnings.filterwarnings("ignore")
    # One thread: sums of activations in another order would give other input scales.
    torch.set_num_threads(1)
    found = {name: record(name, family, directory / name) for name, family in FAMILIES.items()}
    packages = ("nvidia-modelopt", "torch", "transformers")
    made_with = {name: version(name) for name in packages}
    text = json.dumps({"made_with": made_with, "families": found}, indent=1)
    (directory / "recording.json").write_text(text + "\n", encoding="utf-8")


def record(name: str, family: Family, directory: Path) -> dict[str, Any]:
    """Export one family; every rank's tensors by number of ranks."""
    # Another seed for each: two families must not be taken for each other.
    model = quantized(family, np.random.default_rng(list(FAMILIES).index(name)))
    found: dict[str, Any] = {}
    for ranks in RANKS:
        with tempfile.TemporaryDirectory() as scratch:
            # The exporters change the model they are given.
            export_tensorrt_llm_checkpoint(
                copy.deepcopy(model),
                family.decoder,
                torch.bfloat16,
                scratch,
                inference_tensor_parallel=ranks,
            )
            files = [Path(scratch) / f"rank{rank}.safetensors" for rank in range(ranks)]
            found[str(ranks)] = [describe(file) for file in files]
    shutil.rmtree(directory, ignore_errors=True)
    export_hf_checkpoint(model, export_dir=directory)
    print(f"{name}: {sum(path.stat().st_size for path in directory.iterdir()):,} bytes")
    return found


def quantized(family: Family, random: np.random.Generator) -> Any:
    config = getattr(transformers, family.config)(**SIZES, dtype=torch.bfloat16)
    model = getattr(transformers, family.model)(config).to(torch.bfloat16).eval()
    model.config.architectures = [family.model]
    fill(model, random)
    recipe = copy.deepcopy(mtq.NVFP4_DEFAULT_CFG)
    cache = mtq.FP8_KV_CFG["quant_cfg"]
    if isinstance(recipe["quant_cfg"], dict):
        recipe["quant_cfg"].update(cache)
    else:
        recipe["quant_cfg"] = [*recipe["quant_cfg"], *cache]
    tokens = torch.from_numpy(random.integers(0, SIZES["vocab_size"], (4, 2, 32)))

    def calibrate(each: Any) -> None:
        for batch in tokens:
            each(batch)

    return mtq.quantize(model, recipe, calibrate)


def fill(model: Any, random: np.random.Generator) -> None:
    """Weights that are the same on every machine, and of another size in every tensor."""
    for number, (name, parameter) in enumerate(model.named_parameters()):
        noise = torch.from_numpy(random.random(tuple(parameter.shape), np.float32)) - 0.5
        middle = 1.0 if name.endswith("norm.weight") else 0.0
        parameter.data.copy_(middle + noise * 0.05 * (1 + number % 7))


def describe(path: Path) -> dict[str, str]:
    """Every tensor of a rank file, one line each: type, shape, hash and, of a single number, it."""
    found = {}
    with safe_open(path, "pt") as file:
        for name in sorted(file.keys()):
            tensor = file.get_tensor(name).contiguous()
            raw = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
            shape = "x".join(map(str, tensor.shape)) or "scalar"
            words = [DTYPES[tensor.dtype], shape, sha256(raw).hexdigest()]
            found[name] = " ".join([*words, repr(tensor.item())] if tensor.numel() == 1 else words)
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
