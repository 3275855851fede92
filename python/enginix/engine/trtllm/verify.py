"""Checks that a directory is a complete TensorRT-LLM engine, and the expected one.

Reads config.json and file sizes. Works without a manifest, for engines built by hand.
"""

from __future__ import annotations

import re
from pathlib import Path

from enginix.engine.trtllm.engine_config import CONFIG_FILE, EngineConfig, read_engine
from enginix.engine.trtllm.rank_tensors import (
    engine_bytes,
    least_engine_bytes,
)
from enginix.errors import EngineDamaged, EngineMismatch, QuantizationLost, engine_damaged
from enginix.manifest import Manifest, Quantization

RANK_FILE = re.compile(r"rank(\d+)\.engine")

# An engine of BF16 weights in place of NVFP4 is three times as large.
MAX_SHARE = 1.25
CODE_BYTES = 64 * 1024**2


def verify_engine(directory: Path, config: EngineConfig, expected: Quantization) -> None:
    """Raise an EngineError unless config.json and every rank's file are as expected."""
    _require_quantization(directory, config, expected)
    _require_rank_files(directory, config)
    for name in config.rank_files:
        _require_size(directory / name, config)


def verify_manifest(directory: Path, manifest: Manifest) -> str:
    """Check an engine against its manifest; one line for people."""
    config = read_engine(directory)
    verify_engine(directory, config, manifest.quantization)
    for what, have, want in (
        ("ranks", config.parallelism, manifest.parallelism),
        ("limits", config.limits, manifest.limits),
        ("architecture", config.architecture, manifest.architecture),
    ):
        if have != want:
            raise EngineMismatch(
                f"{directory / CONFIG_FILE} and the manifest differ in {what}: {have} and {want}; "
                "build the engine again"
            )
    return describe(config)


def describe(config: EngineConfig) -> str:
    algo = config.quantization.algo or config.dtype
    cache = config.quantization.kv_cache_algo or config.dtype
    ranks = counted(config.parallelism.world_size, "rank")
    return (
        f"{config.architecture}, {algo}, {cache} KV cache, {ranks}, TensorRT-LLM {config.version}"
    )


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _require_quantization(directory: Path, config: EngineConfig, expected: Quantization) -> None:
    found = config.quantization
    pairs: dict[str, tuple[object, object]] = {
        "quant_algo": (found.algo, expected.algo),
        "kv_cache_quant_algo": (found.kv_cache_algo, expected.kv_cache_algo),
    }
    if expected.group_size:
        pairs["group_size"] = (found.group_size, expected.group_size)
    for key, (have, want) in pairs.items():
        if have != want:
            raise QuantizationLost(
                f"{directory / CONFIG_FILE}: {key} is {have!r}, the checkpoint's is {want!r}; "
                "such an engine generates garbage, build it again from the checkpoint"
            )


def _require_rank_files(directory: Path, config: EngineConfig) -> None:
    expected = set(config.rank_files)
    found = {path.name for path in directory.iterdir() if RANK_FILE.fullmatch(path.name)}
    if found != expected:
        raise engine_damaged(
            f"{directory} holds {_listed(found)}, expected {_listed(expected)}: "
            f"{CONFIG_FILE} says {counted(len(expected), 'rank')}"
        )


def _require_size(path: Path, config: EngineConfig) -> None:
    """Check that the file is as large as its weights, but not as large as unquantized ones."""
    size, tensors = path.stat().st_size, config.tensors()
    weights = engine_bytes(tensors)
    if size == 0 or size < least_engine_bytes(tensors, tied=config.may_be_tied):
        raise EngineDamaged(
            f"{path} has {size:,} bytes, but its weights alone take {weights:,}; it is truncated, "
            "build the engine again"
        )
    if weights and size > weights * MAX_SHARE + CODE_BYTES + config.table_bytes:
        raise QuantizationLost(
            f"{path} has {size / 1e9:.1f} GB, but an engine of this model with "
            f"{config.quantization.algo or 'plain'} weights has about {weights / 1e9:.1f} GB; its "
            "weights are not quantized, build it again from the checkpoint"
        )


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "no engines"
