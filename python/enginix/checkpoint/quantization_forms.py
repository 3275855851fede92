"""Reads each tool's form of stating a quantization into the same value.

Pure: from a parsed JSON object to a QuantizationFound; `where` is its place, for messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from enginix.errors import CheckpointDamaged
from enginix.manifest import Quantization

MIXED = "MIXED_PRECISION"
NVFP4_GROUP_SIZE = 16
MX_GROUP_SIZE = 32

# ModelOpt writes it in lower case; TensorRT-LLM has no algorithm of that name.
RENAMED = {
    "FP8_PB_WO": "FP8_BLOCK_SCALES",
    "FP8_PB_REAL": "FP8_BLOCK_SCALES",
    "FP8_PB": "FP8_BLOCK_SCALES",
    "NO_QUANT": None,
    "NONE": None,
}


@dataclass(frozen=True, slots=True)
class QuantizationFound:
    """`format` names whose tensors the layers have: modelopt, compressed-tensors, fp8, ..., none.

    `layers` is filled for MIXED_PRECISION only: layer name, or compressed-tensors' target pattern
    -> that layer's own quantization. `stores_input_scales` is false where it says that no input
    scales are stored, because activations are not quantized or scaled as they come.
    """

    quantization: Quantization
    format: str = "none"
    layers: Mapping[str, Quantization] = field(default_factory=dict)
    stores_input_scales: bool = True


def by_method(where: str, stated: Mapping[str, Any]) -> QuantizationFound:
    """config.json's `quantization_config`, by the method it names."""
    method = stated.get("quant_method")
    if isinstance(nested := stated.get("quantization"), dict):
        return modelopt(f"{where}: quantization", nested)
    if method is None and "quant_algo" in stated:
        return modelopt(where, stated)
    match method:
        case "modelopt" | "modelopt_fp4":
            return modelopt(where, stated)
        case "compressed-tensors":
            return compressed_tensors(where, stated)
        case "fp8" if "quant_algo" in stated:
            # A checkpoint in DeepSeek's form, of whose layers ModelOpt has quantized some.
            return modelopt(where, stated)
        case "fp8":
            return fp8(where, stated)
        case "nvfp4" | "mxfp4" | "mxfp8":
            return _one_format(where, stated, method)
        case "awq" | "gptq":
            return _integer_weights(where, stated, method)
        case str():
            return QuantizationFound(Quantization(method.upper()), method)
        case _:
            raise CheckpointDamaged(
                f"{where}: quant_method: expected a name such as 'modelopt', got {method!r:.80}"
            )


def _one_format(where: str, stated: Mapping[str, Any], method: str) -> QuantizationFound:
    """Formats whose name states everything but the group size."""
    algo = {"nvfp4": "NVFP4", "mxfp4": "W4A16_MXFP4", "mxfp8": "MXFP8"}[method]
    size = _integer(where, "group_size", stated.get("group_size"))
    default = NVFP4_GROUP_SIZE if method == "nvfp4" else MX_GROUP_SIZE
    excluded = _names(where, stated, "ignore", "modules_to_not_convert")
    return QuantizationFound(Quantization(algo, None, size or default, excluded), method)


def _integer_weights(where: str, stated: Mapping[str, Any], method: str) -> QuantizationFound:
    size = _integer(where, "group_size", stated.get("group_size"))
    bits = _integer(where, "bits", stated.get("bits")) or 4
    excluded = _names(where, stated, "modules_to_not_convert")
    algo = f"W{bits}A16_{method.upper()}"
    return QuantizationFound(Quantization(algo, None, size, excluded), method)


def modelopt(where: str, stated: Mapping[str, Any]) -> QuantizationFound:
    """ModelOpt's keys: those of hf_quant_config.json, and those it writes into config.json."""
    stated_layers = stated.get("quantized_layers") or {}
    if not isinstance(stated_layers, dict):
        raise CheckpointDamaged(f"{where}: quantized_layers: expected an object")
    algo = _algorithm(where, stated.get("quant_algo"))
    # A mixed checkpoint's groups differ, and state less than its list of layers.
    groups = [] if stated_layers else _groups(where, stated)
    if algo is None and (stated_layers or groups):
        algo = MIXED if stated_layers else groups[0].algo
    sizes = [_integer(where, "group_size", stated.get("group_size"))]
    sizes += [group.group_size for group in groups]
    size = next((size for size in sizes if size), None)
    if algo == "NVFP4" and size is None:
        size = NVFP4_GROUP_SIZE
    quantization = Quantization(
        algo=algo,
        kv_cache_algo=_kv_cache_algorithm(where, stated),
        group_size=size,
        exclude=_names(where, stated, "exclude_modules", "ignore"),
    )
    layers = {name: _layer(where, name, layer) for name, layer in stated_layers.items()}
    return QuantizationFound(
        quantization,
        format="modelopt" if algo else "none",
        layers=layers if algo == MIXED else {},
        stores_input_scales=_stores_input_scales(where, stated),
    )


def _layer(where: str, name: str, stated: object) -> Quantization:
    where = f"{where}: quantized_layers: {name}"
    if not isinstance(stated, dict):
        raise CheckpointDamaged(f"{where}: expected an object, got {stated!r:.80}")
    algo = _algorithm(where, stated.get("quant_algo"))
    size = _integer(where, "group_size", stated.get("group_size"))
    return Quantization(algo, None, size or (NVFP4_GROUP_SIZE if algo == "NVFP4" else None))


def compressed_tensors(where: str, stated: Mapping[str, Any]) -> QuantizationFound:
    groups = _groups(where, stated)
    if not groups:
        raise CheckpointDamaged(f"{where}: config_groups: expected at least one group, got none")
    shared = Quantization(
        algo=groups[0].algo,
        kv_cache_algo=_kv_cache_algorithm(where, stated),
        group_size=groups[0].group_size,
        exclude=_names(where, stated, "ignore"),
    )
    stored = _stores_input_scales(where, stated)
    if all(group == groups[0] for group in groups):
        return QuantizationFound(shared, "compressed-tensors", stores_input_scales=stored)
    layers = {
        target: group
        for group, entry in zip(groups, stated["config_groups"].values(), strict=True)
        for target in _names(where, entry, "targets")
    }
    mixed = replace(shared, algo=MIXED, group_size=None)
    return QuantizationFound(mixed, "compressed-tensors", layers, stored)


def fp8(where: str, stated: Mapping[str, Any]) -> QuantizationFound:
    """DeepSeek's and Qwen's form: one scale per block of the weight, or one for all of it."""
    block = stated.get("weight_block_size")
    if block is not None and not (
        isinstance(block, list) and len(block) == 2 and all(type(n) is int and n > 0 for n in block)
    ):
        raise CheckpointDamaged(
            f"{where}: weight_block_size: expected two sizes such as [128, 128], got {block!r:.80}"
        )
    quantization = Quantization(
        algo="FP8_BLOCK_SCALES" if block else "FP8",
        group_size=block[1] if block else None,
        exclude=_names(where, stated, "modules_to_not_convert", "ignored_layers"),
    )
    return QuantizationFound(quantization, "fp8")


def _groups(where: str, stated: Mapping[str, Any]) -> list[Quantization]:
    """One Quantization for each of `config_groups`, written by ModelOpt and llm-compressor."""
    groups = stated.get("config_groups") or {}
    if not isinstance(groups, dict) or not all(isinstance(each, dict) for each in groups.values()):
        raise CheckpointDamaged(f"{where}: config_groups: expected an object of objects")
    return [_group(f"{where}: {name}", group) for name, group in groups.items()]


def _group(where: str, group: Mapping[str, Any]) -> Quantization:
    weights, inputs = group.get("weights"), group.get("input_activations")
    if not isinstance(weights, dict) or not isinstance(inputs, dict | None):
        raise CheckpointDamaged(f"{where}: expected weights and input_activations as objects")
    size = _integer(where, "group_size", weights.get("group_size"))
    if "quant_algo" in weights:
        return Quantization(_algorithm(where, weights["quant_algo"]), None, size)
    strategy = weights.get("strategy")
    input_bits = (inputs or {}).get("num_bits")
    match (weights.get("type"), weights.get("num_bits"), input_bits):
        case ("float", 4, _) if size == MX_GROUP_SIZE:
            algo = f"W4A{input_bits or 16}_MXFP4"
        case ("float", 8, _) if size == MX_GROUP_SIZE:
            algo = "MXFP8"
        case ("float", 4, 4):
            algo, size = "NVFP4", size or NVFP4_GROUP_SIZE
        case ("float", 4, 8):
            algo, size = "W4A8_NVFP4_FP8", size or NVFP4_GROUP_SIZE
        case ("float", 4, None):
            algo, size = "W4A16_NVFP4", size or NVFP4_GROUP_SIZE
        case ("float", 8, _) if strategy == "block":
            algo = "FP8_BLOCK_SCALES"
        case ("float", 8, _) if strategy == "channel":
            algo = "FP8_PER_CHANNEL_PER_TOKEN"
        case ("float", 8, _):
            algo = "FP8"
        case (kind, bits, _):
            algo = f"{str(kind).upper()}_W{bits}A{input_bits or 16}"
    return Quantization(algo, None, size)


def _stores_input_scales(where: str, stated: Mapping[str, Any]) -> bool:
    """Whether input scales are stored: not if the exporter says so, or no group quantizes them."""
    flag = stated.get("with_input_scale")
    if not isinstance(flag, bool | None):
        raise CheckpointDamaged(f"{where}: with_input_scale: expected a boolean, got {flag!r:.80}")
    if flag is not None:
        return flag
    if stated.get("quantized_layers"):
        # The list of layers takes precedence, and names each layer's algorithm.
        return True
    groups = stated.get("config_groups") or {}
    return not groups or any(_has_static_inputs(group) for group in groups.values())


def _has_static_inputs(group: Mapping[str, Any]) -> bool:
    if "quant_algo" in group["weights"]:
        # The short form of a group, which states nothing about activations.
        return True
    inputs = group.get("input_activations")
    # llm-compressor writes "local" if a static scale is combined with dynamic ones.
    return inputs is not None and inputs.get("dynamic") is not True


def _kv_cache_algorithm(where: str, stated: Mapping[str, Any]) -> str | None:
    scheme = stated.get("kv_cache_quant_algo", stated.get("kv_cache_scheme"))
    if not isinstance(scheme, dict):
        return _algorithm(where, scheme, "kv_cache_quant_algo")
    match (scheme.get("type"), scheme.get("num_bits")):
        case ("float", 8):
            return "FP8"
        case ("float", 4):
            return "NVFP4"
        case ("int", 8):
            return "INT8"
        case (kind, bits):
            raise CheckpointDamaged(
                f"{where}: kv_cache_scheme: expected float 8, float 4 or int 8, got {kind} {bits}"
            )


def _algorithm(where: str, stated: object, key: str = "quant_algo") -> str | None:
    if stated is None:
        return None
    if not isinstance(stated, str) or not stated.isprintable():
        raise CheckpointDamaged(f"{where}: {key}: expected a name or null, got {stated!r:.80}")
    name = stated.upper()
    return RENAMED.get(name, name)


def _integer(where: str, key: str, value: object) -> int | None:
    # AutoGPTQ writes -1 for "the whole row", ModelOpt 0 for "no groups".
    if value is None or (type(value) is int and value in (-1, 0)):
        return None
    if type(value) is not int or value < 0:
        raise CheckpointDamaged(f"{where}: {key}: expected a positive integer, got {value!r:.80}")
    return value


def _names(where: str, stated: Mapping[str, Any], *keys: str) -> list[str]:
    """The list under the first of `keys` that exists."""
    key = next((key for key in keys if stated.get(key) is not None), keys[0])
    value = stated.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise CheckpointDamaged(f"{where}: {key}: expected a list of names, got {value!r:.80}")
    return value
