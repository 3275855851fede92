"""Checks a gguf engine's model and tokenizer. Reads headers and the tokenizer, no weights."""

from __future__ import annotations

from pathlib import Path

from enginix.errors import engine_damaged
from enginix.gguf_header import GgufHeader, read_header
from enginix.hub_files import read_object
from enginix.manifest import Manifest

MODEL_FILE = "model.gguf"
ARCHITECTURE = "general.architecture"
TOKENIZER_FILE = "tokenizer.json"
JSON_FILES = (
    TOKENIZER_FILE,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.json",
    "generation_config.json",
)


def verify_model(directory: Path) -> str:
    """A summary of model and tokenizer; EngineDamaged if one cannot be loaded."""
    path = directory / MODEL_FILE
    header = read_header(path)
    _require_one_vocabulary(path, header)
    for name in JSON_FILES:
        if read_object(directory / name, engine_damaged) is None and name == TOKENIZER_FILE:
            raise engine_damaged(f"{directory / name} is missing")
    tokens = header.arrays["tokenizer.ggml.tokens"]
    return f"{len(header.tensors)} tensors within {MODEL_FILE}, {tokens} tokens"


def verify_promises(directory: Path, manifest: Manifest) -> None:
    """Raise EngineDamaged if the model is not the one that the manifest describes."""
    header = read_header(directory / MODEL_FILE)
    types = {tensor.type for tensor in header.tensors}
    if "NVFP4" in (manifest.quantization.algo or "") and "NVFP4" not in types:
        raise engine_damaged(
            f"{directory / MODEL_FILE} holds {', '.join(sorted(types))}, the manifest records NVFP4"
        )
    context = header.values.get(f"{header.values[ARCHITECTURE]}.context_length", 0)
    if isinstance(context, str) or manifest.limits.max_seq_len > context:
        raise engine_damaged(
            f"{directory / MODEL_FILE} has {context} positions, the manifest records "
            f"{manifest.limits.max_seq_len}"
        )


def _require_one_vocabulary(path: Path, header: GgufHeader) -> None:
    architecture = header.values.get(ARCHITECTURE)
    stated = header.values.get(f"{architecture}.vocab_size")
    tokens = header.arrays.get("tokenizer.ggml.tokens")
    rows = next((one.shape[0] for one in header.tensors if one.name == "token_embd.weight"), None)
    if stated is None or not stated == tokens == rows:
        raise engine_damaged(
            f"{path}: the architecture {architecture} has vocab_size {stated}, {tokens} tokens "
            f"and an embedding of {rows} rows; expected one number"
        )
