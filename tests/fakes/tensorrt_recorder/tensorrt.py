"""TensorRT as far as TensorRT Edge-LLM's builder describes a network to it: it keeps the constants.

It checks no shape and compiles nothing. What it calls a plan is as long as the weights in it.
"""

from __future__ import annotations

import enum
from typing import Any

__version__ = "10.16.0.72"

BITS = {"FP4": 4, "INT4": 4, "FP8": 8, "INT8": 8, "UINT8": 8, "BOOL": 8, "HALF": 16, "BF16": 16}
NAMES = (
    *("FLOAT", "HALF", "INT8", "INT32", "BOOL", "UINT8", "FP8", "BF16", "INT64", "INT4", "FP4"),
    "E8M0",
)
DataType = enum.Enum("DataType", {name: number for number, name in enumerate(NAMES)})
float32, float16, bfloat16 = DataType.FLOAT, DataType.HALF, DataType.BF16
int8, int32, int64, int4 = DataType.INT8, DataType.INT32, DataType.INT64, DataType.INT4
uint8, fp8, fp4, bool = DataType.UINT8, DataType.FP8, DataType.FP4, DataType.BOOL


class Anything:
    """A flag, an enum's member or a call's result that nobody looks into."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Anything:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything(f"{self._name}.{name}")

    def __call__(self, *_: Any, **__: Any) -> Anything:
        return Anything(f"{self._name}()")

    def __int__(self) -> int:
        return 0

    __index__ = __int__

    def __hash__(self) -> int:
        return hash(self._name)

    def __eq__(self, other: object) -> Any:
        return isinstance(other, Anything) and other._name == self._name


def __getattr__(name: str) -> Anything:
    if name.startswith("__"):
        raise AttributeError(name)
    return Anything(name)


class ITensor:
    def __init__(self, shape: Any, dtype: Any = float16, name: str = "") -> None:
        self.shape, self.dtype, self.name = tuple(shape), dtype, name


class INetworkDefinition:
    def __init__(self) -> None:
        self.inputs: list[ITensor] = []
        self.bytes = 0

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    def get_input(self, index: int) -> ITensor:
        return self.inputs[index]

    def add_input(self, name: str, dtype: Any, shape: Any) -> ITensor:
        self.inputs.append(ITensor(shape, dtype, name))
        return self.inputs[-1]

    def mark_output(self, tensor: ITensor) -> None:
        """Kept by nobody."""

    def add_constant(self, shape: Any, weights: Any) -> Layer:
        self.bytes += getattr(weights, "nbytes", 0)
        return Layer(shape)

    def add_plugin_v3(self, inputs: Any, shapes: Any, plugin: Any) -> Layer:
        return Layer(getattr(inputs[0], "shape", (-1,)))

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("add_"):
            raise AttributeError(name)
        return lambda *given, **_: Layer(output_shape(name, given))


def output_shape(name: str, given: tuple[Any, ...]) -> tuple[Any, ...]:
    found = [each[0] if isinstance(each, list | tuple) and each else each for each in given]
    first = next((each for each in found if isinstance(each, ITensor)), ITensor((-1,)))
    if name == "add_matrix_multiply":
        return (*given[0].shape[:-1], given[2].shape[-1])
    if name == "add_slice" and isinstance(given[2], list | tuple):
        return tuple(given[2])
    return first.shape


class Layer:
    num_outputs = 64

    def __init__(self, shape: Any) -> None:
        self._shape, self._outputs = tuple(shape), dict[int, ITensor]()

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name == "reshape_dims":
            object.__setattr__(self, "_shape", tuple(value))
            for output in self._outputs.values():
                output.shape = tuple(value)

    def get_output(self, index: int) -> ITensor:
        return self._outputs.setdefault(index, ITensor(self._shape))

    def set_input(self, index: int, tensor: ITensor) -> None:
        """Kept by nobody."""

    def set_output_type(self, index: int, dtype: Any) -> None:
        self.get_output(index).dtype = dtype


class Weights:
    """Of an array, or of a type, an address and a number of elements."""

    def __init__(self, *given: Any) -> None:
        if len(given) == 3:
            self.nbytes = given[2] * BITS.get(given[0].name, 32) // 8
        else:
            self.nbytes = getattr(given[0], "nbytes", 0)


class ILogger:
    class Severity(enum.IntEnum):
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class Plan(bytes):
    @property
    def nbytes(self) -> int:
        return len(self)


class Builder:
    def __init__(self, logger: Any) -> None:
        """Says nothing to it."""

    def create_network(self, flags: Any) -> INetworkDefinition:
        return INetworkDefinition()

    def create_builder_config(self) -> Anything:
        return Anything("config")

    def create_optimization_profile(self) -> Anything:
        return Anything("profile")

    def build_serialized_network(self, network: INetworkDefinition, config: Any) -> Plan:
        return Plan(network.bytes)


class PluginField:
    def __init__(self, *_: Any) -> None:
        """Kept by nobody."""


class PluginFieldCollection(list[Any]):
    """As TensorRT's."""


def get_plugin_registry() -> Anything:
    return Anything("registry")
