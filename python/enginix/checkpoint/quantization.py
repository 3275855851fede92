"""Reads a checkpoint's quantization, in any of its forms, into one Quantization.

Forms: ModelOpt's hf_quant_config.json (with quant_cfg.json beside it when mixed), and config.json's
`quantization_config` as written by ModelOpt, llm-compressor (compressed-tensors), and others. A
checkpoint may state it twice; then both must agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from enginix.checkpoint.quantization_forms import (
    MIXED,
    QuantizationFound,
    by_method,
    modelopt,
)
from enginix.errors import CheckpointDamaged
from enginix.hub_files import read_object
from enginix.manifest import Quantization

LEGACY_FILE = "hf_quant_config.json"
LAYERS_FILE = "quant_cfg.json"


def read_quantization(directory: Path, config: Mapping[str, Any]) -> QuantizationFound:
    """The quantization of the checkpoint in `directory`, whose parsed config.json is `config`."""
    legacy = _read_legacy(directory)
    inline = _read_inline(directory / "config.json", config)
    if legacy and inline:
        _check_agreement(directory, legacy, inline)
        return _merged(legacy, inline)
    return legacy or inline or QuantizationFound(Quantization(algo=None))


def _read_legacy(directory: Path) -> QuantizationFound | None:
    path = directory / LEGACY_FILE
    data = read_object(path)
    if data is None:
        return None
    stated = data.get("quantization")
    if not isinstance(stated, dict):
        raise CheckpointDamaged(f"{path}: quantization: expected an object, got {stated!r:.80}")
    found = modelopt(str(path), stated)
    beside = read_object(directory / LAYERS_FILE)
    return _with_layers(directory, found, beside) if beside else found


def _with_layers(
    directory: Path, found: QuantizationFound, beside: Mapping[str, Any]
) -> QuantizationFound:
    """`found` with the layers of quant_cfg.json, which TensorRT-LLM reads for mixed precision."""
    path = directory / LAYERS_FILE
    layers = modelopt(str(path), {"quant_algo": MIXED, **beside})
    ours, theirs = found.quantization.kv_cache_algo, layers.quantization.kv_cache_algo
    if ours != theirs and "kv_cache_quant_algo" in beside:
        raise CheckpointDamaged(
            f"{directory}: {LEGACY_FILE} states that the KV cache is {ours}, {LAYERS_FILE} that "
            f"it is {theirs}; correct the wrong one"
        )
    return replace(found, layers={**found.layers, **layers.layers})


def _read_inline(path: Path, config: Mapping[str, Any]) -> QuantizationFound | None:
    stated = config.get("quantization_config")
    if stated is None and isinstance(text := config.get("text_config"), dict):
        stated = text.get("quantization_config")
    if stated is None:
        return None
    where = f"{path}: quantization_config"
    if not isinstance(stated, dict):
        raise CheckpointDamaged(f"{where}: expected an object, got {stated!r:.80}")
    return by_method(where, stated)


def _check_agreement(directory: Path, legacy: QuantizationFound, inline: QuantizationFound) -> None:
    one, other = legacy.quantization, inline.quantization
    pairs = {
        "algorithm": (one.algo, other.algo),
        "KV cache algorithm": (one.kv_cache_algo, other.kv_cache_algo),
        "group size": (one.group_size, other.group_size),
        "excluded modules": (sorted(one.exclude), sorted(other.exclude)),
    }
    for what, (theirs, ours) in pairs.items():
        # ModelOpt's inline form cannot express everything: an absent value is no contradiction.
        if theirs and ours and theirs != ours:
            raise CheckpointDamaged(
                f"{directory}: {LEGACY_FILE} and config.json contradict each other about the "
                f"{what}: {theirs} and {ours}; correct the wrong one"
            )
    for name in legacy.layers.keys() & inline.layers.keys():
        one, other = legacy.layers[name], inline.layers[name]
        if one != other:
            raise CheckpointDamaged(
                f"{directory}: {LEGACY_FILE} and config.json contradict each other about the "
                f"layer {name}: {one.algo} and {other.algo}; correct the wrong one"
            )


def _merged(legacy: QuantizationFound, inline: QuantizationFound) -> QuantizationFound:
    one, other = legacy.quantization, inline.quantization
    return QuantizationFound(
        Quantization(
            algo=one.algo or other.algo,
            kv_cache_algo=one.kv_cache_algo or other.kv_cache_algo,
            group_size=one.group_size or other.group_size,
            exclude=one.exclude or other.exclude,
        ),
        format=legacy.format if one.algo else inline.format,
        layers=legacy.layers or inline.layers,
        stores_input_scales=legacy.stores_input_scales and inline.stores_input_scales,
    )
