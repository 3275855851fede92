"""Tensors as numpy arrays with safetensors' dtype names, and safetensors files without torch.

BF16 is kept as its 16 bits, F8_E4M3 and packed FP4 as bytes, as they are in the file.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

STORAGE = {
    "BF16": np.uint16,
    "F16": np.float16,
    "F32": np.float32,
    "F8_E4M3": np.uint8,
    "U8": np.uint8,
}


@dataclass(frozen=True)
class Tensor:
    dtype: str
    data: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    def to(self, dtype: str) -> "Tensor":
        return self if dtype == self.dtype else _from_float(dtype, _to_float(self))


def _to_float(tensor: Tensor) -> np.ndarray:
    if tensor.dtype == "BF16":
        return (tensor.data.astype(np.uint32) << 16).view(np.float32)
    if tensor.dtype == "F8_E4M3":
        return FLOAT8[tensor.data]
    return tensor.data.astype(np.float32)


def _from_float(dtype: str, values: np.ndarray) -> Tensor:
    if dtype == "BF16":
        bits = np.ascontiguousarray(values).view(np.uint32)
        rounded = bits + 0x7FFF + ((bits >> 16) & 1)
        return Tensor(dtype, (rounded >> 16).astype(np.uint16))
    if dtype == "F8_E4M3":
        return Tensor(dtype, _to_float8(values))
    return Tensor(dtype, values.astype(STORAGE[dtype]))


def _float8(bits: int) -> float:
    sign, exponent, fraction = bits >> 7, bits >> 3 & 15, bits & 7
    if exponent == 15 and fraction == 7:
        return float("nan")
    size = fraction / 8 * 2**-6 if exponent == 0 else (1 + fraction / 8) * 2 ** (exponent - 7)
    return -size if sign else size


FLOAT8 = np.array([_float8(bits) for bits in range(256)], np.float32)


def _to_float8(values: np.ndarray) -> np.ndarray:
    """To the nearest, ties to even; what is too large becomes NaN, as in torch."""
    positive = FLOAT8[:127]
    sizes = np.abs(values)
    middles = (positive[1:] + positive[:-1]) / 2
    upper = np.searchsorted(middles, sizes, side="left")
    is_tie = np.isin(sizes, middles)
    found = np.where(is_tie & (upper % 2 == 1), upper + 1, upper).astype(np.uint8)
    found = np.where(sizes > 464, np.uint8(0x7F), found)
    return found | (np.signbit(values).astype(np.uint8) << 7)


class Checkpoint:
    """Every *.safetensors in a directory; tensors are mapped, not read, until they are sliced."""

    def __init__(self, directory: Path) -> None:
        self._entries = {}
        for path in sorted(directory.glob("*.safetensors")):
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            for name, entry in header.items():
                self._entries[name] = (path, 8 + length, entry)
        if not self._entries:
            raise NotImplementedError("Only safetensors/pickle/binary directories are supported.")

    def get(self, name: str) -> Tensor | None:
        if name not in self._entries:
            return None
        path, start, entry = self._entries[name]
        begin, end = entry["data_offsets"]
        kind = np.dtype(STORAGE[entry["dtype"]])
        data = np.memmap(path, kind, "r", start + begin, ((end - begin) // kind.itemsize,))
        return Tensor(entry["dtype"], data.reshape(entry["shape"] or [1]))


def save_file(tensors: dict[str, Tensor], path: Path) -> None:
    header, offset = {}, 0
    for name, tensor in tensors.items():
        end = offset + tensor.data.nbytes
        header[name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            file.write(np.ascontiguousarray(tensor.data).tobytes())
