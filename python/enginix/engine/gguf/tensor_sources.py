"""The parts of a GGUF tensor, and a supply of the checkpoint's tensors that must be used up."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from enginix.checkpoint.load import Checkpoint
from enginix.checkpoint.tensors import TensorInfo
from enginix.engine.gguf.repack import BLOCK_VALUES, GROUP
from enginix.errors import CheckpointDamaged, CheckpointUnsupported

# Dtype in the checkpoint -> type in the GGUF.
PLAIN_TYPES = {
    "BF16": GGMLQuantizationType.BF16,
    "F16": GGMLQuantizationType.F16,
    "F32": GGMLQuantizationType.F32,
}

# Scales of an FP8 KV cache, which llama.cpp does not use, and a table of older transformers.
LEFT_OUT = re.compile(r"\.(k_scale|v_scale|k_proj\.output_scale|v_proj\.output_scale|inv_freq)$")


@dataclass(frozen=True, slots=True)
class Packed:
    """NVFP4 values and their scales to repack."""

    weight: TensorInfo
    scales: TensorInfo
    head_dim: int | None
    """Set if the rows must be reordered to ggml's rotary order."""


@dataclass(frozen=True, slots=True)
class Plain:
    """Values to copy, or to widen to F32."""

    tensor: TensorInfo
    head_dim: int | None = None


@dataclass(frozen=True, slots=True)
class Constant:
    """Computed values that no checkpoint tensor holds in the needed form."""

    values: npt.NDArray[np.float32]


Part = Packed | Plain | Constant


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """`shape` has the rows first, as in numpy; `parts` are adjacent in the file."""

    name: str
    shape: tuple[int, ...]
    type: GGMLQuantizationType
    parts: tuple[Part, ...] = field(repr=False)

    @property
    def size_bytes(self) -> int:
        values, size = GGML_QUANT_SIZES[self.type]
        return int(np.prod(self.shape)) // values * size


class Supply:
    """The checkpoint's tensors, taken one by one: a missing or unused one is an error."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.directory = checkpoint.directory
        self._architecture = checkpoint.architecture
        self._tensors = checkpoint.tensors
        self._left = set(checkpoint.tensors)

    def is_packed(self, module: str) -> bool:
        tensor = self._tensors.get(f"{module}.weight")
        return tensor is not None and tensor.dtype == "U8"

    def take(self, name: str, shape: tuple[int, ...]) -> TensorInfo:
        tensor = self._tensors.get(name)
        if tensor is None:
            raise CheckpointDamaged(
                f"{self.directory}: the tensor {name!r} is missing, but config.json requires it; "
                "download the checkpoint again"
            )
        if tensor.shape != shape:
            raise CheckpointDamaged(
                f"{self.directory}: the tensor {name!r} has the shape {list(tensor.shape)}, "
                f"but config.json requires {list(shape)}; download the checkpoint again"
            )
        self._left.discard(name)
        return tensor

    def plain(self, tensor: TensorInfo) -> TensorInfo:
        if tensor.dtype not in PLAIN_TYPES:
            raise CheckpointUnsupported(
                f"{self.directory}: the tensor {tensor.name!r} is {tensor.dtype}, but the gguf "
                f"kind takes NVFP4, {', '.join(PLAIN_TYPES)}; choose another engine kind"
            )
        return tensor

    def packed(
        self, module: str, shape: tuple[int, int], head_dim: int | None
    ) -> tuple[Packed, TensorInfo, TensorInfo | None]:
        """(the matrix, its scale, its input scale if the checkpoint has one)."""
        rows, columns = shape
        if columns % BLOCK_VALUES:
            raise CheckpointUnsupported(
                f"{self.directory}: {module} has {columns} inputs, but llama.cpp's NVFP4 needs a "
                f"multiple of {BLOCK_VALUES}; choose another engine kind for this model"
            )
        weight = self._typed(f"{module}.weight", (rows, columns // 2), "U8")
        scales = self._typed(f"{module}.weight_scale", (rows, columns // GROUP), "F8_E4M3")
        scale = self._scalar(f"{module}.weight_scale_2")
        name = f"{module}.input_scale"
        input_scale = self._scalar(name) if name in self._tensors else None
        return Packed(weight, scales, head_dim), scale, input_scale

    def _scalar(self, name: str) -> TensorInfo:
        # ModelOpt writes a scalar; other exporters a vector of one.
        found = self._tensors.get(name)
        return self._typed(name, (1,) if found and found.shape == (1,) else (), "F32")

    def _typed(self, name: str, shape: tuple[int, ...], dtype: str) -> TensorInfo:
        tensor = self.take(name, shape)
        if tensor.dtype != dtype:
            raise CheckpointDamaged(
                f"{self.directory}: the tensor {name!r} is {tensor.dtype}, expected {dtype}; "
                "the checkpoint is not ModelOpt's NVFP4"
            )
        return tensor

    def refuse_rest(self, ignored: str | None) -> None:
        rest = [
            name
            for name in sorted(self._left)
            if not LEFT_OUT.search(name) and not (ignored and name.startswith(ignored))
        ]
        if rest:
            raise CheckpointUnsupported(
                f"{self.directory}: llama.cpp has no place in a {self._architecture} for "
                f"{len(rest)} of the tensors, the first is {rest[0]!r}; choose another engine kind"
            )
