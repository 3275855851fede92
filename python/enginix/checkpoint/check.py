"""Compares the tensors that a checkpoint must have with the ones it has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from enginix.checkpoint.architecture import LinearLayer, Sizes
from enginix.checkpoint.layers import (
    FLOAT8,
    PLAIN,
    PLAIN_LAYER,
    PLAIN_TYPES,
    QUANTIZED_SUFFIXES,
    Part,
    StatedQuantizations,
    parts_of,
)
from enginix.checkpoint.load import Checkpoint
from enginix.checkpoint.scales import is_scale, read_scales
from enginix.checkpoint.tensors import TensorInfo
from enginix.hub_files import CONFIG_FILE
from enginix.manifest import Quantization

# ModelOpt's names of the KV cache's scales; then those of compressed-tensors and vLLM.
KV_SCALES = (
    ("self_attn.k_proj.k_scale", "self_attn.k_scale", "self_attn.attn.k_scale"),
    ("self_attn.v_proj.v_scale", "self_attn.v_scale", "self_attn.attn.v_scale"),
)


LAYER = re.compile(r"model\.layers\.(\d{1,9})\.")
PACKED_TYPES = ("U8", *FLOAT8)


class Findings:
    """Sentences about tensors; the same sentence about many tensors is reported once."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}

    def add(self, sentence: str, name: str = "") -> None:
        self._names.setdefault(sentence, []).append(name)

    def sentences(self) -> tuple[str, ...]:
        return tuple(
            sentence if not names[0] else f"{names[0]}{_more(len(names) - 1)} {sentence}"
            for sentence, names in self._names.items()
        )


class TensorCheck:
    """Compares expected tensors with existing ones, and records which it has checked."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.damage = Findings()
        self.notes = Findings()
        self.algorithms: dict[str, str | None] = {}
        """Layer -> the algorithm it is stored in."""
        self.values: dict[str, float] = {}
        """Tensor -> value, for scales of a whole layer."""
        self._checkpoint = checkpoint
        self._tensors = checkpoint.tensors
        self._stated = StatedQuantizations(checkpoint.quantization, checkpoint.layers)
        self._seen: set[str] = set()
        self._scales: list[TensorInfo] = []

    def layer(self, layer: LinearLayer) -> None:
        quantization = self._quantization(layer)
        algorithm = self.algorithms[layer.name] = quantization.algo
        if layer.bias:
            self.plain(f"{layer.name}.bias", (layer.rows,))
        if algorithm is None:
            self._part(layer, PLAIN[0], "a layer that is not quantized")
            return
        stored = self._checkpoint.stores_input_scales
        parts = parts_of(self._checkpoint.format, quantization, stores_input_scales=stored)
        if parts is None:
            self.notes.add(f"is stored as {algorithm}, which enginix does not check", layer.name)
            self._seen |= {f"{layer.name}.{suffix}" for suffix in ("weight", *QUANTIZED_SUFFIXES)}
            return
        weight = self._tensors.get(f"{layer.name}.weight")
        if weight is not None and weight.dtype in PLAIN_TYPES:
            self._seen.add(weight.name)
            self.damage.add(
                f"is stored as {weight.dtype}, but the checkpoint states {algorithm} and does "
                "not exclude it",
                layer.name,
            )
            return
        for part in parts:
            self._part(layer, part, algorithm)

    def plain(self, name: str, shape: tuple[int, ...]) -> None:
        """A tensor that is never quantized."""
        tensor = self._tensors.get(name)
        self._seen.add(name)
        if tensor is None:
            self.damage.add("is missing", name)
        elif tensor.dtype not in PLAIN_TYPES:
            self.damage.add(f"is {tensor.dtype}, expected one of {', '.join(PLAIN_TYPES)}", name)
        elif tensor.shape != shape:
            self.damage.add(f"has shape {list(tensor.shape)}, expected {list(shape)}", name)

    def kv_scales(self, sizes: Sizes) -> None:
        """All or none: without any, every runtime uses 1.0; with some, the rest is unknown."""
        missing, found = [], 0
        for index in range(sizes.layers):
            for names in KV_SCALES:
                ours = [f"model.layers.{index}.{name}" for name in names]
                scale = next((self._tensors[name] for name in ours if name in self._tensors), None)
                if scale is None:
                    missing.append(ours[0])
                else:
                    found += 1
                    self._seen.add(scale.name)
                    self._scale(scale)
        algo = self._checkpoint.quantization.kv_cache_algo
        if algo is None:
            return
        if found:
            for name in missing:
                self.damage.add("is missing, but other layers have it", name)
        else:
            self.notes.add(
                f"the KV cache is {algo}, but no scales for it are stored: runtimes use 1.0"
            )

    def undeclared(self) -> None:
        """Find packed layers of a checkpoint that states no quantization."""
        if self._checkpoint.quantization.algo is not None:
            return
        for name, _ in _quantized_names(self._tensors):
            weight = self._tensors.get(f"{name}.weight")
            if weight is not None and weight.dtype in PACKED_TYPES:
                self.damage.add(
                    f"is {weight.dtype}, but no file states how it is quantized; download "
                    "hf_quant_config.json too",
                    weight.name,
                )

    def leftovers(self, sizes: Sizes) -> None:
        for name in sorted(self._tensors.keys() - self._seen):
            if (layer := LAYER.match(name)) and int(layer[1]) >= sizes.layers:
                self.damage.add(
                    f"is of a further layer, but {CONFIG_FILE} states {sizes.layers}", name
                )
                continue
            self.notes.add(f"is not part of {self._checkpoint.architecture} and not used", name)

    def scale_values(self) -> None:
        """Check that the scales of whole layers are finite and above zero."""
        self.values = read_scales(self._scales)
        for name, value in self.values.items():
            if not is_scale(value):
                self.damage.add(f"is {value:g}, expected a number above 0", name)

    def _quantization(self, layer: LinearLayer) -> Quantization:
        stated = self._stated.of(layer.name) if layer.quantizable else PLAIN_LAYER
        if stated.algo and layer.role == "lm_head":
            # Some tools do not quantize the output head and do not say so.
            weight = self._tensors.get("lm_head.weight")
            return PLAIN_LAYER if weight is not None and weight.dtype in PLAIN_TYPES else stated
        return stated

    def _part(self, layer: LinearLayer, part: Part, algorithm: str) -> None:
        name = f"{layer.name}.{part.suffix}"
        if part.alias and name not in self._tensors:
            alias = f"{layer.name}.{part.alias}"
            name = alias if alias in self._tensors else name
        tensor = self._tensors.get(name)
        self._seen.add(name)
        if tensor is None:
            if not part.optional:
                self.damage.add(f"is missing, expected for {algorithm}", name)
            return
        if tensor.dtype not in part.dtypes:
            self.damage.add(
                f"is {tensor.dtype}, expected {' or '.join(part.dtypes)} for {algorithm}", name
            )
            return
        shape = part.shape(layer.rows, layer.columns)
        # A scale of one number is written as [], [1] or [1, 1], a column of them as [n] or [n, 1].
        if _squeezed(tensor.shape) != _squeezed(shape):
            self.damage.add(f"has shape {list(tensor.shape)}, expected {list(shape)}", name)
        elif part.is_scale_of_all:
            self._scale(tensor)

    def _scale(self, tensor: TensorInfo) -> None:
        if tensor.dtype not in PLAIN_TYPES or _squeezed(tensor.shape):
            self.damage.add(
                f"is {tensor.dtype} {list(tensor.shape)}, expected one F32 number", tensor.name
            )
        else:
            self._scales.append(tensor)


def fits(checkpoint: Checkpoint, sizes: Sizes, damage: Findings) -> bool:
    """Whether the configuration can describe these files at all, before checking every layer."""
    least = sizes.layers * max(sizes.experts, 1)
    if least > len(checkpoint.tensors):
        experts = f" with {sizes.experts} experts each" if sizes.experts else ""
        damage.add(
            f"{CONFIG_FILE} states {sizes.layers} layers{experts}, but the files hold only "
            f"{len(checkpoint.tensors)} tensors"
        )
        return False
    return True


def found_layers(checkpoint: Checkpoint) -> Iterator[LinearLayer]:
    """The quantized layers of an unknown architecture, as far as the tensors show."""
    stated = StatedQuantizations(checkpoint.quantization, checkpoint.layers)
    for name, packing in _quantized_names(checkpoint.tensors):
        algorithm = stated.of(name).algo
        weight = checkpoint.tensors.get(f"{name}.weight_packed")
        weight = weight or checkpoint.tensors.get(f"{name}.weight")
        if algorithm and weight and len(weight.shape) == 2:
            rows, columns = weight.shape
            yield LinearLayer(name, name.rpartition(".")[2], rows, columns * packing, "none")


def _quantized_names(tensors: Mapping[str, TensorInfo]) -> Iterable[tuple[str, int]]:
    """(layer, weights in one element of its weight) of every layer that has scales or is packed."""
    found: dict[str, int] = {}
    for name, tensor in tensors.items():
        layer, _, suffix = name.rpartition(".")
        if suffix in QUANTIZED_SUFFIXES or (suffix == "weight" and tensor.dtype == "U8"):
            packed = tensor.dtype == "U8" and suffix in ("weight", "weight_packed")
            found[layer] = max(found.get(layer, 1), 2 if packed else 1)
    return found.items()


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _more(count: int) -> str:
    return f" and {count} more:" if count else ""
