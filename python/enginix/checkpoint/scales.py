"""Reads the scales of whole layers, single numbers, from safetensors files."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from itertools import groupby
from math import isfinite
from pathlib import Path

from enginix.checkpoint.tensors import TensorInfo
from enginix.errors import CheckpointDamaged

# Scales are usually adjacent, so one read gets many; distant ones are read separately.
MAX_GAP = 4096
MAX_RUN = 1 << 20


def read_scales(tensors: Iterable[TensorInfo]) -> dict[str, float]:
    """Name -> value, of tensors that hold one F32, BF16 or F16 number each."""
    found: dict[str, float] = {}
    ordered = sorted(tensors, key=lambda tensor: (str(tensor.file), tensor.start))
    for file, group in groupby(ordered, key=lambda tensor: tensor.file):
        found |= _read_file(file, list(group))
    return found


def is_scale(value: float) -> bool:
    """Whether it can scale weights: any other value makes them all zero or not finite."""
    return isfinite(value) and value > 0


def _read_file(path: Path, tensors: list[TensorInfo]) -> dict[str, float]:
    found: dict[str, float] = {}
    try:
        with path.open("rb", buffering=0) as file:
            for run in _runs(tensors):
                start = run[0].start
                data = os.pread(file.fileno(), run[-1].stop - start, start)
                for tensor in run:
                    value = data[tensor.start - start : tensor.stop - start]
                    found[tensor.name] = _number(tensor, value)
    except OSError as error:
        raise CheckpointDamaged(f"{path} cannot be read: {error.strerror or error}") from error
    return found


def _runs(tensors: list[TensorInfo]) -> Iterator[list[TensorInfo]]:
    run: list[TensorInfo] = []
    for tensor in tensors:
        near = run and tensor.start - run[-1].stop <= MAX_GAP
        if run and not (near and tensor.stop - run[0].start <= MAX_RUN):
            yield run
            run = []
        run.append(tensor)
    if run:
        yield run


def _number(tensor: TensorInfo, data: bytes) -> float:
    if len(data) != tensor.size_bytes:
        raise CheckpointDamaged(f"{tensor.file} became shorter while it was read")
    match tensor.dtype:
        case "F32":
            return float(struct.unpack("<f", data)[0])
        case "F16":
            return float(struct.unpack("<e", data)[0])
        case _:
            # BF16 is the upper half of an F32.
            return float(struct.unpack("<f", b"\0\0" + data)[0])
