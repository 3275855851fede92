"""Writes a GGUF as a stream: header and tensor table first, then the tensors in slabs.

The checkpoint is read with `pread`, never mapped: memory stays at a few slabs for any model size,
and a file that is truncated during the read is an error, not a SIGBUS.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGUF_DEFAULT_ALIGNMENT, GGMLQuantizationType, GGUFWriter

from enginix.checkpoint.tensors import TensorInfo
from enginix.engine.gguf.repack import interleave_rotary, repack_nvfp4
from enginix.engine.gguf.tensor_sources import Constant, GgufTensor, Packed, Part, Plain
from enginix.errors import CheckpointDamaged

Array = npt.NDArray[Any]
Progress = Callable[[int], None]
"""Called with the number of bytes written since the last call."""

# With its copies a slab fits a core's cache; four times the size halves the speed.
SLAB_BYTES = 1 << 18

STORED: dict[str, np.dtype[Any]] = {
    "BF16": np.dtype("<u2"),
    "F16": np.dtype("<u2"),
    "F32": np.dtype("<u4"),
}

# Bits that are all set in infinities and NaNs.
EXPONENT = {"BF16": 0x7F80, "F16": 0x7C00, "F32": 0x7F800000}

LARGEST_SCALE = 0x7E
"""E4M3 448; larger codes are NaN and negative numbers."""

# It logs its plan at INFO by default.
logging.getLogger("gguf").setLevel(logging.WARNING)


def write_gguf(
    path: Path,
    architecture: str,
    add_key_values: Callable[[GGUFWriter], None],
    tensors: Sequence[GgufTensor],
    progress: Progress,
) -> None:
    """Write `tensors` to `path`, which must not exist."""
    writer = GGUFWriter(path, architecture)
    try:
        add_key_values(writer)
        for tensor in tensors:
            writer.add_tensor_info(
                tensor.name,
                tensor.shape,
                # Any type except uint8, whose shape gguf would read as bytes.
                np.dtype(np.float32),
                tensor.size_bytes,
                raw_dtype=tensor.type,
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
    finally:
        writer.close()
    with path.open("ab") as file, CheckpointReader() as reader:
        file.write(padding(file.tell()))
        for tensor in tensors:
            for part in tensor.parts:
                for slab in slabs(part, tensor.type, reader):
                    file.write(slab.data)
                    progress(slab.nbytes)
            file.write(padding(tensor.size_bytes))


def padding(size: int) -> bytes:
    return bytes(-size % GGUF_DEFAULT_ALIGNMENT)


def slabs(part: Part, kind: GGMLQuantizationType, reader: CheckpointReader) -> Iterator[Array]:
    """The bytes of a part as `kind`, in arrays of about SLAB_BYTES or less."""
    match part:
        case Packed():
            return _packed_slabs(part, reader)
        case Plain():
            return _plain_slabs(part, kind, reader)
        case Constant():
            return iter([part.values])


def _packed_slabs(part: Packed, reader: CheckpointReader) -> Iterator[Array]:
    for start, stop in _row_ranges(part.weight, part.head_dim):
        weights = reader.rows(part.weight, start, stop, np.dtype(np.uint8))
        scales = reader.rows(part.scales, start, stop, np.dtype(np.uint8))
        if scales.max() > LARGEST_SCALE:
            raise _not_a_number(part.scales)
        blocks: Array = repack_nvfp4(weights, scales)
        yield interleave_rotary(blocks, part.head_dim) if part.head_dim else blocks


def _plain_slabs(
    part: Plain, kind: GGMLQuantizationType, reader: CheckpointReader
) -> Iterator[Array]:
    dtype = part.tensor.dtype
    exponent = STORED[dtype].type(EXPONENT[dtype])
    for start, stop in _row_ranges(part.tensor, part.head_dim):
        values = reader.rows(part.tensor, start, stop, STORED[dtype])
        if ((values & exponent) == exponent).any():
            raise _not_a_number(part.tensor)
        if kind is GGMLQuantizationType.F32:
            values = widen(values, dtype)
        yield interleave_rotary(values, part.head_dim) if part.head_dim else values


def widen(values: Array, dtype: str) -> Array:
    """Converts numbers of a checkpoint's dtype to F32, exactly."""
    match dtype:
        case "BF16":
            return values.astype(np.uint32) << np.uint32(16)
        case "F16":
            return values.view("<f2").astype(np.float32)
        case _:
            return values


def _row_ranges(tensor: TensorInfo, head_dim: int | None) -> Iterator[tuple[int, int]]:
    """(start, stop) of the rows per slab: whole heads if they must be reordered."""
    rows, row_bytes = rows_of(tensor)
    unit = head_dim or 1
    step = max(SLAB_BYTES // (row_bytes * unit), 1) * unit
    for start in range(0, rows, step):
        yield start, min(start + step, rows)


def rows_of(tensor: TensorInfo) -> tuple[int, int]:
    """(rows, bytes per row); a scalar is one row of one value."""
    rows = tensor.shape[0] if tensor.shape else 1
    return rows, tensor.size_bytes // max(rows, 1)


class CheckpointReader:
    """Reads rows of tensors; opens each file once and closes all at the end."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._files: dict[Path, int] = {}

    def __enter__(self) -> CheckpointReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def rows(self, tensor: TensorInfo, start: int, stop: int, dtype: np.dtype[Any]) -> Array:
        _, row_bytes = rows_of(tensor)
        data = self._read(tensor, tensor.start + start * row_bytes, (stop - start) * row_bytes)
        return np.frombuffer(data, dtype).reshape(stop - start, *tensor.shape[1:])

    def _read(self, tensor: TensorInfo, offset: int, size: int) -> bytes:
        try:
            data = os.pread(self._descriptor(tensor.file), size, offset)
        except OSError as error:
            raise CheckpointDamaged(f"{tensor.file} cannot be read: {error.strerror}") from error
        if len(data) != size:
            raise CheckpointDamaged(
                f"{tensor.file} became shorter while it was read: expected {size} bytes at "
                f"{offset}, found {len(data)}; build again when it is not being written"
            )
        return data

    def _descriptor(self, path: Path) -> int:
        if path not in self._files:
            file = self._open.enter_context(path.open("rb", buffering=0))
            self._files[path] = file.fileno()
        return self._files[path]


def _not_a_number(tensor: TensorInfo) -> CheckpointDamaged:
    what = "scales that are negative or" if tensor.dtype == "F8_E4M3" else "numbers that are"
    return CheckpointDamaged(
        f"{tensor.file}: the tensor {tensor.name!r} holds {what} infinite or not a number; "
        "the file is damaged, download it again"
    )
