"""Reads a checkpoint's config.json as transformers 4.57 does: by its model_type, with defaults.

A key transformers 4.57 does not know (`rope_parameters`, from transformers 5) is not an error
there: the default is used instead.
"""

import json
from pathlib import Path

CONTEXT = {"qwen2": 32768, "qwen3": 32768, "llama": 2048, "mistral": 131072}
ROPE_THETA = {"qwen2": 10000.0, "qwen3": 10000.0, "llama": 10000.0, "mistral": 10000.0}
REMOTE_OR_UNIMITATED = ("qwen", "qwen2_moe", "qwen3_moe", "mixtral", "phi3", "baichuan", "chatglm")
VALID_QWEN_TYPES = (
    "qwen",
    "qwen2",
    "qwen2_moe",
    "qwen2_llava_onevision",
    "qwen2_vl",
    "qwen2_audio",
    "qwen3",
    "qwen3_moe",
)


def read_hf_config(directory: Path) -> dict:
    path = directory / "config.json"
    if not path.is_file():
        raise OSError(
            f"{directory} does not appear to have a file named config.json. "
            f"Checkout 'https://huggingface.co/{directory}/tree/main' for available files."
        )
    config = json.loads(path.read_text())
    kind = config.get("model_type")
    if kind not in ROPE_THETA and kind not in REMOTE_OR_UNIMITATED:
        raise ValueError(
            f"The checkpoint you are trying to load has model type `{kind}` but Transformers "
            "does not recognize this architecture."
        )
    config.setdefault("num_key_value_heads", config["num_attention_heads"])
    if config.get("head_dim") is None:
        # As transformers writes it for Mistral; `PretrainedConfig` then computes it.
        config["head_dim"] = config["hidden_size"] // config["num_attention_heads"]
    config.setdefault("rope_theta", ROPE_THETA.get(kind, 10000.0))
    config.setdefault("tie_word_embeddings", False)
    config.setdefault("max_position_embeddings", CONTEXT.get(kind, 2048))
    return config


def model_dtype(asked: str, config: dict) -> str:
    """'auto' is the checkpoint's own dtype; float32 becomes float16, as in the original."""
    if asked != "auto":
        return asked
    found = config.get("torch_dtype") or config.get("dtype") or "float16"
    return "float16" if found == "float32" else found
