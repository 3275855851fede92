"""A checkpoint directory as one value: its configuration, quantization and tensors, no weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from enginix.checkpoint.quantization import read_quantization
from enginix.checkpoint.tensors import TensorInfo, read_headers, weight_files
from enginix.errors import CheckpointDamaged, NotACheckpoint
from enginix.hub_files import CONFIG_FILE, read_object
from enginix.manifest import Quantization
from enginix.plain_files import open_regular

# Besides weights: files of the tokenizer, the chat template, the processor and remote code.
SOURCE_PATTERNS = (
    "config.json",
    "generation_config.json",
    "hf_quant_config.json",
    "quant_cfg.json",
    "model.safetensors.index.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "tekken.json",
    "vocab.txt",
    "merges.txt",
    "chat_template*.jin*",
    "chat_template.json",
    "*preprocessor_config.json",
    "processor_config.json",
    "*.model",
    "*.tiktoken",
    "*.py",
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    directory: Path
    config: dict[str, Any]
    architecture: str
    quantization: Quantization
    tensors: dict[str, TensorInfo]
    format: str = "none"
    """The quantized layers' tensor format: modelopt, compressed-tensors, fp8, mxfp4, none."""
    layers: Mapping[str, Quantization] = field(default_factory=dict)
    """Layer -> its own quantization; only for the algorithm MIXED_PRECISION."""
    stores_input_scales: bool = True
    """False if the quantization states that activations are quantized dynamically or not at all."""


def open_checkpoint(directory: Path, *, with_weights: bool = True) -> Checkpoint:
    """Read config.json, the quantization in any of its forms, and every safetensors header.

    Without weights it has no tensors: they are still at the hub.
    """
    config = read_config(directory)
    found = read_quantization(directory, config)
    return Checkpoint(
        directory=directory,
        config=config,
        architecture=_architecture(directory / CONFIG_FILE, config),
        quantization=found.quantization,
        tensors=read_headers(directory) if with_weights else {},
        format=found.format,
        layers=found.layers,
        stores_input_scales=found.stores_input_scales,
    )


def read_config(directory: Path) -> dict[str, Any]:
    if not directory.is_dir():
        what = "is not a directory" if directory.exists() else "does not exist"
        raise NotACheckpoint(f"{directory} {what}; expected a checkpoint directory")
    config = read_object(directory / CONFIG_FILE)
    if config is None:
        raise NotACheckpoint(
            f"{directory} holds no {CONFIG_FILE}; expected a Hugging Face checkpoint"
        )
    return config


def source_files(directory: Path) -> list[str]:
    """Names of the files that a build reads; not the README, not other weight formats."""
    weights = weight_files(directory)
    beside = [
        path.name
        for path in directory.iterdir()
        if path.is_file() and any(fnmatchcase(path.name, each) for each in SOURCE_PATTERNS)
    ]
    return sorted({*weights, *beside})


def hash_files(directory: Path) -> dict[str, str]:
    """File name -> sha256 of every source file; reads all of them."""
    return hash_all(directory, source_files(directory))


def hash_all(directory: Path, names: Iterable[str]) -> dict[str, str]:
    """File name -> sha256."""
    names = list(names)
    # Hashing releases the interpreter lock, so threads use several cores.
    with ThreadPoolExecutor() as pool:
        hashes = list(pool.map(lambda name: hash_file(directory / name), names))
    return dict(zip(names, hashes, strict=True))


def hash_file(path: Path) -> str:
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointDamaged(f"{path} cannot be read: {error.strerror or error}") from error


def _architecture(path: Path, config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise NotACheckpoint(
            f"{path}: architectures: expected a list with a class name such as "
            f"'Qwen3ForCausalLM', got {names!r:.80}"
        )
    return names[0]
