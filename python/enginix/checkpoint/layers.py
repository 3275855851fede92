"""The tensors of a linear layer, by the quantization it is stored in.

For a checker, a quantization format is a table: names, types, and how many weights share a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import translate

from enginix.errors import CheckpointDamaged
from enginix.manifest import Quantization

PLAIN_TYPES = ("BF16", "F16", "F32")
FLOAT8 = ("F8_E4M3",)
SCALES = ("F32", "BF16", "F16")


@dataclass(frozen=True, slots=True)
class Part:
    """One tensor of a layer: one value for each `rows` x `columns` weights, 0 for all of them."""

    suffix: str
    dtypes: tuple[str, ...]
    rows: int
    columns: int
    optional: bool = False
    alias: str | None = None
    """Another name that tools use for the same tensor."""

    @property
    def is_scale_of_all(self) -> bool:
        return not self.rows and not self.columns

    def shape(self, rows: int, columns: int) -> tuple[int, ...]:
        """The expected shape, without dimensions of size 1."""
        return tuple(
            -(-size // per) for size, per in ((rows, self.rows), (columns, self.columns)) if per
        )


def _parts(*parts: Part) -> tuple[Part, ...]:
    return parts


PLAIN = _parts(Part("weight", PLAIN_TYPES, 1, 1))
PLAIN_LAYER = Quantization(algo=None)

_MODELOPT_NVFP4 = _parts(
    Part("weight", ("U8",), 1, 2),
    Part("weight_scale", FLOAT8, 1, 16),
    Part("weight_scale_2", ("F32",), 0, 0),
)
_PACKED_NVFP4 = _parts(
    Part("weight_packed", ("U8",), 1, 2),
    Part("weight_scale", FLOAT8, 1, 16),
    Part("weight_global_scale", ("F32",), 0, 0),
)
_FLOAT8_WEIGHT = Part("weight", FLOAT8, 1, 1)

# (format, algorithm) -> the layer's tensors. Other combinations are reported as unchecked.
PARTS: dict[tuple[str, str], tuple[Part, ...]] = {
    ("modelopt", "NVFP4"): (*_MODELOPT_NVFP4, Part("input_scale", ("F32",), 0, 0)),
    ("modelopt", "W4A16_NVFP4"): (
        *_MODELOPT_NVFP4,
        # Left over if NVFP4 was relabelled; runtimes ignore it.
        Part("input_scale", ("F32",), 0, 0, optional=True),
    ),
    ("modelopt", "FP8"): (
        _FLOAT8_WEIGHT,
        Part("weight_scale", ("F32",), 0, 0),
        Part("input_scale", ("F32",), 0, 0),
    ),
    ("modelopt", "FP8_PER_CHANNEL_PER_TOKEN"): (
        _FLOAT8_WEIGHT,
        Part("weight_scale", SCALES, 1, 0),
    ),
    ("modelopt", "FP8_BLOCK_SCALES"): (
        _FLOAT8_WEIGHT,
        # ModelOpt's own scales have four dimensions, two of them 1; scales it copied from a
        # checkpoint in DeepSeek's form keep that name.
        Part("weight_scale", SCALES, 128, 128, alias="weight_scale_inv"),
    ),
    ("compressed-tensors", "NVFP4"): (
        *_PACKED_NVFP4,
        # Absent if activations are scaled dynamically.
        Part("input_global_scale", ("F32",), 0, 0, optional=True),
    ),
    ("compressed-tensors", "W4A16_NVFP4"): _PACKED_NVFP4,
    ("compressed-tensors", "FP8"): (
        _FLOAT8_WEIGHT,
        Part("weight_scale", SCALES, 0, 0),
        Part("input_scale", SCALES, 0, 0, optional=True),
    ),
    ("compressed-tensors", "FP8_PER_CHANNEL_PER_TOKEN"): (
        _FLOAT8_WEIGHT,
        Part("weight_scale", SCALES, 1, 0),
    ),
    ("fp8", "FP8_BLOCK_SCALES"): (
        _FLOAT8_WEIGHT,
        Part("weight_scale_inv", SCALES, 128, 128),
    ),
    ("fp8", "FP8"): (
        _FLOAT8_WEIGHT,
        Part("weight_scale_inv", SCALES, 0, 0, optional=True),
    ),
}


# The scale that calibration computes for a layer's input.
INPUT_SCALES = ("input_scale", "input_global_scale")


def parts_of(
    format: str, quantization: Quantization, *, stores_input_scales: bool = True
) -> tuple[Part, ...] | None:
    """The tensors of a layer; None when enginix does not know how that format stores it."""
    parts = PARTS.get((format, quantization.algo or ""))
    block = quantization.group_size
    if parts and block and quantization.algo == "FP8_BLOCK_SCALES":
        parts = tuple(
            replace(part, rows=block, columns=block) if part.columns > 1 else part for part in parts
        )
    if parts and not stores_input_scales:
        parts = tuple(
            replace(part, optional=True) if part.suffix in INPUT_SCALES else part for part in parts
        )
    return parts


# Suffixes by which a tensor belongs to a quantized layer, whatever the format.
QUANTIZED_SUFFIXES = frozenset(
    suffix
    for parts in PARTS.values()
    for part in parts
    for suffix in (part.suffix, part.alias)
    if suffix and suffix != "weight"
)


class StatedQuantizations:
    """Layer name -> the quantization that the checkpoint states for the layer."""

    def __init__(self, quantization: Quantization, layers: Mapping[str, Quantization]) -> None:
        self._shared = quantization
        self._mixed = layers
        self._is_excluded = NamePatterns(quantization.exclude)
        self._patterns = [
            (NamePatterns([name]), each) for name, each in layers.items() if is_pattern(name)
        ]
        # compressed-tensors can also target a class of modules; a layer's name takes precedence.
        self._rest = layers.get("Linear", PLAIN_LAYER)

    def of(self, name: str) -> Quantization:
        """The layer's quantization; its algorithm is None if it is not quantized."""
        if self._shared.algo is None or self._is_excluded.match(name):
            return PLAIN_LAYER
        if self._shared.algo != "MIXED_PRECISION":
            return self._shared
        for outer in name_and_parents(name):
            if outer in self._mixed:
                return self._mixed[outer]
        found = (each for pattern, each in self._patterns if pattern.match(name))
        return next(found, self._rest)


class NamePatterns:
    """Module names as quantization tools write them: exact, a parent, `*`, or `re:` expressions."""

    def __init__(self, patterns: list[str]) -> None:
        self._exact = {pattern for pattern in patterns if not is_pattern(pattern)}
        expressions = [
            pattern.removeprefix("re:") if pattern.startswith("re:") else translate(pattern)
            for pattern in patterns
            if is_pattern(pattern)
        ]
        try:
            self._expressions = [re.compile(expression) for expression in expressions]
        except (re.error, OverflowError, RecursionError) as error:
            raise CheckpointDamaged(
                f"the quantization names modules with an invalid expression: {error}"
            ) from error

    def match(self, name: str) -> bool:
        if any(outer in self._exact for outer in name_and_parents(name)):
            return True
        return any(expression.match(name) for expression in self._expressions)


def is_pattern(name: str) -> bool:
    return name.startswith("re:") or any(mark in name for mark in "*?[")


def name_and_parents(name: str) -> list[str]:
    """'a.b.c' -> ['a.b.c', 'a.b', 'a']: a pattern that names a module matches all within it."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
