"""Is a directory a whole TensorRT-LLM engine, and the one that was asked for? Reads no engine.

Works on any engine directory, also one that was built by hand and has no manifest.
"""

from __future__ import annotations

import re
from pathlib import Path

from enginix.engine.trtllm.engine_config import CONFIG_FILE, EngineFacts, read_engine
from enginix.engine.trtllm.rank_tensors import (
    engine_bytes,
    least_engine_bytes,
)
from enginix.errors import EngineDamaged, EngineMismatch, QuantizationLost
from enginix.manifest import Manifest, Quantization

RANK_FILE = re.compile(r"rank(\d+)\.engine")

# An engine of BF16 weights in place of NVFP4 is three times as large.
MOST_SHARE = 1.25
CODE_BYTES = 64 * 1024**2


def verify_engine(directory: Path, facts: EngineFacts, promised: Quantization) -> None:
    """Raise an EngineError unless config.json and every rank's file are what was promised."""
    _require_quantization(directory, facts, promised)
    _require_rank_files(directory, facts)
    for name in facts.rank_files:
        _require_size(directory / name, facts)


def verify_manifest(directory: Path, manifest: Manifest) -> str:
    """Hold an engine to its manifest; one line for people."""
    facts = read_engine(directory)
    verify_engine(directory, facts, manifest.quantization)
    for what, have, want in (
        ("ranks", facts.parallelism, manifest.parallelism),
        ("limits", facts.limits, manifest.limits),
        ("architecture", facts.architecture, manifest.architecture),
    ):
        if have != want:
            raise EngineMismatch(
                f"{directory / CONFIG_FILE} and the manifest differ in {what}: {have} and {want}; "
                "build the engine again"
            )
    return describe(facts)


def describe(facts: EngineFacts) -> str:
    algo = facts.quantization.algo or facts.dtype
    cache = facts.quantization.kv_cache_algo or facts.dtype
    ranks = counted(facts.parallelism.world_size, "rank")
    return f"{facts.architecture}, {algo}, {cache} KV cache, {ranks}, TensorRT-LLM {facts.version}"


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _require_quantization(directory: Path, facts: EngineFacts, promised: Quantization) -> None:
    found = facts.quantization
    pairs: dict[str, tuple[object, object]] = {
        "quant_algo": (found.algo, promised.algo),
        "kv_cache_quant_algo": (found.kv_cache_algo, promised.kv_cache_algo),
    }
    if promised.group_size:
        pairs["group_size"] = (found.group_size, promised.group_size)
    for key, (have, want) in pairs.items():
        if have != want:
            raise QuantizationLost(
                f"{directory / CONFIG_FILE}: {key} is {have!r}, the checkpoint's is {want!r}; "
                "such an engine answers garbage, build it again from the checkpoint"
            )


def _require_rank_files(directory: Path, facts: EngineFacts) -> None:
    expected = set(facts.rank_files)
    found = {path.name for path in directory.iterdir() if RANK_FILE.fullmatch(path.name)}
    if found != expected:
        raise EngineDamaged(
            f"{directory} holds {_listed(found)}, expected {_listed(expected)}: "
            f"{CONFIG_FILE} says {counted(len(expected), 'rank')}; build the engine again"
        )


def _require_size(path: Path, facts: EngineFacts) -> None:
    """As large as its weights need it to be, and not as large as plain weights would."""
    size, tensors = path.stat().st_size, facts.tensors()
    weights = engine_bytes(tensors)
    if size == 0 or size < least_engine_bytes(tensors, tied=facts.may_be_tied):
        raise EngineDamaged(
            f"{path} has {size:,} bytes, its weights alone take {weights:,}; it is truncated, "
            "build the engine again"
        )
    if weights and size > weights * MOST_SHARE + CODE_BYTES + facts.table_bytes:
        raise QuantizationLost(
            f"{path} has {size / 1e9:.1f} GB, an engine of this model with "
            f"{facts.quantization.algo or 'plain'} weights has about {weights / 1e9:.1f} GB; its "
            "weights are not quantized, build it again from the checkpoint"
        )


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "no engines"
