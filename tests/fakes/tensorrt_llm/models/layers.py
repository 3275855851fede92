"""Layers and how the original's loader fills them: translate names, slice, post-process, pad."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..block_scales import interleaved_as
from ..logger import logger
from ..mapping import Mapping
from ..tensors import Checkpoint, Tensor
from .modeling_utils import QuantConfig

WORDS = {
    "transformer": "model",
    "vocab_embedding": "embed_tokens",
    "ln_f": "norm",
    "attention": "self_attn",
    "dense": "o_proj",
    "fc": "gate_proj",
    "gate": "up_proj",
    "proj": "down_proj",
    "post_layernorm": "post_attention_layernorm",
    "q_layernorm": "q_norm",
    "k_layernorm": "k_norm",
}


def hf_name(name: str) -> str:
    return ".".join(WORDS.get(word, word) for word in name.split("."))


def load_slice(checkpoint: Checkpoint, name: str, mapping: Mapping, axis: int) -> Tensor | None:
    """The rank's part along `axis`; scalars and, for axis 1, vectors are whole."""
    tensor = checkpoint.get(name)
    if tensor is None or mapping.tp_size == 1 or axis < 0:
        return tensor
    shape = tensor.shape
    if len(shape) == 1 and (axis > 0 or shape[0] == 1):
        return tensor
    width = -(-shape[axis] // mapping.tp_size)
    part = [slice(None)] * len(shape)
    part[axis] = slice(mapping.tp_rank * width, min((mapping.tp_rank + 1) * width, shape[axis]))
    return Tensor(tensor.dtype, tensor.data[tuple(part)])


def filled(name: str, tensor: Tensor, expected: tuple[int, ...]) -> Tensor:
    """What the original does with a wrong shape: warn, pad with zeros, go on."""
    if tensor.shape == expected:
        return tensor
    logger.warning(f"{name} has invalid shape {tensor.shape}. Expected {expected}.")
    missing = [max(0, want - have) for want, have in zip(expected, tensor.shape, strict=False)]
    flat = [number for each in reversed(missing) for number in (0, each)]
    logger.warning(f"{name} is going to be padded by {flat}.")
    padded = np.pad(tensor.data, [(0, each) for each in missing])
    if padded.shape != expected:
        raise ValueError(
            f"Parameter {name} has invalid shape {tensor.shape} compared with expected shape "
            f"{expected}. Auto padding failed."
        )
    return Tensor(tensor.dtype, padded)


def required(tensor: Tensor | None, attribute: str) -> Tensor:
    """The original's loader hands None on, and the next step trips over it."""
    if tensor is None:
        raise AttributeError(f"'NoneType' object has no attribute '{attribute}'")
    return tensor


@dataclass
class Embedding:
    name: str
    rows: int
    columns: int
    dtype: str

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {f"{self.name}.weight": (self.rows, self.columns)}

    def load(self, checkpoint: Checkpoint, mapping: Mapping) -> dict[str, Tensor]:
        key = f"{self.name}.weight"
        tensor = required(checkpoint.get(hf_name(key)), "to").to(self.dtype)
        return {key: filled(key, tensor, (self.rows, self.columns))}


@dataclass
class Norm:
    name: str
    size: int
    dtype: str

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {f"{self.name}.weight": (self.size,)}

    def load(self, checkpoint: Checkpoint, mapping: Mapping) -> dict[str, Tensor]:
        key = f"{self.name}.weight"
        tensor = checkpoint.get(hf_name(key))
        if tensor is None:
            raise KeyError(key)
        return {key: filled(key, tensor.to(self.dtype), (self.size,))}


@dataclass
class KvCacheScales:
    """A missing scale silently becomes 1."""

    name: str

    def shapes(self) -> dict[str, tuple[int, ...]]:
        names = ("kv_cache_scaling_factor", "kv_cache_rcp_scaling_factor")
        return {f"{self.name}.{each}": (1,) for each in names}

    def load(self, checkpoint: Checkpoint, mapping: Mapping) -> dict[str, Tensor]:
        at = hf_name(self.name)
        names = (f"{at}.k_proj.k_scale", f"{at}.v_proj.v_scale")
        found = [tensor for tensor in map(checkpoint.get, names) if tensor is not None]
        scale = max((float(tensor.data[0]) for tensor in found), default=1.0)
        return {
            f"{self.name}.kv_cache_scaling_factor": scalar(scale),
            f"{self.name}.kv_cache_rcp_scaling_factor": scalar(1 / scale),
        }


@dataclass
class Linear:
    name: str
    inputs: int
    outputs: int
    dtype: str
    quantization: QuantConfig
    axis: int
    source: str = ""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return linear_shapes(self)

    def load(self, checkpoint: Checkpoint, mapping: Mapping) -> dict[str, Tensor]:
        at = self.source or hf_name(self.name)

        def part(suffix: str) -> Tensor | None:
            return load_slice(checkpoint, f"{at}.{suffix}", mapping, self.axis)

        if not self.quantization.quantizes(self.name):
            weight = required(part("weight"), "to").to(self.dtype)
            key = f"{self.name}.weight"
            return {key: filled(key, weight, (self.outputs, self.inputs))}
        check_algorithm(self.quantization, self.inputs)
        if self.quantization.quant_algo == "FP8":
            return fp8_parameters(
                self,
                required(part("weight"), "view"),
                float(required(part("weight_scale"), "reshape").data[0]),
                float(required(part("input_scale"), "reshape").data[0]),
            )
        scales = required(part("weight_scale"), "view")
        return fp4_parameters(
            self,
            required(part("weight"), "to"),
            scales,
            float(required(part("weight_scale_2"), "float").data[0]),
            float(required(part("input_scale"), "float").data[0]),
        )


@dataclass
class QkvLinear:
    name: str
    inputs: int
    outputs: int
    dtype: str
    quantization: QuantConfig
    kv_heads: int
    biased: bool

    def shapes(self) -> dict[str, tuple[int, ...]]:
        bias = {f"{self.name}.bias": (self.outputs,)} if self.biased else {}
        return {**linear_shapes(self), **bias}

    def load(self, checkpoint: Checkpoint, mapping: Mapping) -> dict[str, Tensor]:
        at = hf_name(self.name).removesuffix("qkv")
        # With fewer key/value heads than ranks the original does not slice at all.
        axis = -1 if self.kv_heads < mapping.tp_size else 0

        def parts(suffix: str) -> list[Tensor]:
            names = [f"{at}{letter}_proj.{suffix}" for letter in "qkv"]
            return [required(load_slice(checkpoint, each, mapping, axis), "to") for each in names]

        found: dict[str, Tensor] = {}
        if self.biased:
            key = f"{self.name}.bias"
            found[key] = filled(key, joined(parts("bias")).to(self.dtype), (self.outputs,))
        if not self.quantization.quantizes(self.name):
            key = f"{self.name}.weight"
            weight = joined(parts("weight")).to(self.dtype)
            return {key: filled(key, weight, (self.outputs, self.inputs)), **found}
        check_algorithm(self.quantization, self.inputs)
        if self.quantization.quant_algo == "FP8":
            return {**found, **self._requantized(parts)}
        # The largest of the three, without quantizing again: ModelOpt made them equal.
        found |= fp4_parameters(
            self,
            joined(parts("weight")),
            joined(parts("weight_scale")),
            max(float(each.data[0]) for each in parts("weight_scale_2")),
            max(float(each.data[0]) for each in parts("input_scale")),
        )
        return found

    def _requantized(self, parts: Callable[[str], list[Tensor]]) -> dict[str, Tensor]:
        """FP8 has one scale for all three: the largest, and the weights follow it."""
        scales = [float(each.data[0]) for each in parts("weight_scale")]
        inputs = max(float(each.data[0]) for each in parts("input_scale"))
        weights = []
        for weight, scale in zip(parts("weight"), scales, strict=True):
            values = weight.to("F32").data * np.float32(scale) / np.float32(max(scales))
            weights.append(Tensor("F32", values).to("F8_E4M3"))
        return fp8_parameters(self, joined(weights), max(scales), inputs)


def linear_shapes(layer: Linear | QkvLinear) -> dict[str, tuple[int, ...]]:
    if not layer.quantization.quantizes(layer.name):
        return {f"{layer.name}.weight": (layer.outputs, layer.inputs)}
    check_algorithm(layer.quantization, layer.inputs)
    if layer.quantization.quant_algo == "FP8":
        return {
            f"{layer.name}.weight": (layer.outputs, layer.inputs),
            f"{layer.name}.weights_scaling_factor": (1,),
            f"{layer.name}.activation_scaling_factor": (1,),
        }
    scales = (layer.outputs, layer.inputs // 16)
    one = {
        "weight": (layer.outputs, layer.inputs // 2),
        "weights_block_scaling_factor": scales,
        "weights_block_scaling_factor_interleaved": (
            -(-scales[0] // 128) * 128,
            -(-scales[1] // 4) * 4,
        ),
        "weights_global_scaling_factor": (1,),
        "activation_global_scaling_factor": (1,),
        "alpha": (1,),
    }
    return {f"{layer.name}.{suffix}": shape for suffix, shape in one.items()}


def check_algorithm(quantization: QuantConfig, inputs: int) -> None:
    if quantization.quant_algo == "FP8":
        return
    if quantization.quant_algo != "NVFP4":
        raise NotImplementedError(f"the stand-in does not imitate {quantization.quant_algo}")
    assert inputs % 16 == 0, "Input features must be a multiple of 16 for FP4 GEMM"


def fp8_parameters(
    layer: Linear | QkvLinear, weight: Tensor, weight_scale: float, input_scale: float
) -> dict[str, Tensor]:
    found = {
        f"{layer.name}.weight": Tensor("F8_E4M3", weight.data),
        f"{layer.name}.weights_scaling_factor": scalar(weight_scale),
        f"{layer.name}.activation_scaling_factor": scalar(input_scale),
    }
    shapes = linear_shapes(layer)
    return {name: filled(name, tensor, shapes[name]) for name, tensor in found.items()}


def fp4_parameters(
    layer: Linear | QkvLinear,
    weight: Tensor,
    scales: Tensor,
    weight_scale: float,
    input_scale: float,
) -> dict[str, Tensor]:
    """The packed weight's shape is never compared; the scales' shape is, after interleaving."""
    shapes = linear_shapes(layer)
    interleaved = Tensor("F8_E4M3", interleaved_as(scales.data))
    names = {
        "weight": Tensor("U8", weight.data),
        "weights_block_scaling_factor": scales,
        "weights_block_scaling_factor_interleaved": interleaved,
        "weights_global_scaling_factor": scalar(weight_scale),
        "activation_global_scaling_factor": scalar(input_scale),
        "alpha": Tensor(
            "F32", np.array([input_scale], np.float32) * np.array([weight_scale], np.float32)
        ),
    }
    found = {f"{layer.name}.{suffix}": tensor for suffix, tensor in names.items()}
    return {
        name: filled(name, tensor, shapes[name]) if "block" in name else tensor
        for name, tensor in found.items()
    }


def joined(parts: list[Tensor]) -> Tensor:
    return Tensor(parts[0].dtype, np.concatenate([part.data for part in parts]))


def scalar(value: float) -> Tensor:
    return Tensor("F32", np.array([value], np.float32))
