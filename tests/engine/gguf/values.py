"""Decodes a checkpoint's and a GGUF's values, each from its format's description alone.

Nothing of enginix is used here, so that it can be held against this.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from gguf import GGUFReader

# OCP Microscaling Formats, 5.3.3: FP4 is one sign, two exponent and one mantissa bit, bias 1.
POSITIVE = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
FP4 = np.array(POSITIVE + [-value for value in POSITIVE], np.float32)


def e4m3(code: int) -> float:
    """OCP 8-bit floating point, E4M3: bias 7, no infinities, NaN when all but the sign is set."""
    sign = -1.0 if code & 0x80 else 1.0
    exponent, mantissa = code >> 3 & 0xF, code & 7
    if code & 0x7F == 0x7F:
        return float("nan")
    if exponent == 0:
        return sign * mantissa / 8 * 2.0**-6
    return sign * (1 + mantissa / 8) * 2.0 ** (exponent - 7)


E4M3 = np.array([e4m3(code) for code in range(256)], np.float32)


def checkpoint_values(directory: Path) -> dict[str, np.ndarray]:
    """Weight name -> numbers; a quantized one without its scale for the whole matrix."""
    raw: dict[str, tuple[str, np.ndarray]] = {}
    for path in sorted(directory.glob("*.safetensors")):
        raw |= _safetensors(path)
    found = {}
    for name, (dtype, data) in raw.items():
        if dtype == "U8":
            found[name] = modelopt_nvfp4(data, raw[f"{name}_scale"][1])
        elif dtype != "F8_E4M3":
            found[name] = _numbers(dtype, data)
    return found


def modelopt_nvfp4(weights: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Byte i of a row holds the values 2i, in its low nibble, and 2i + 1; 16 share a scale."""
    rows, half = weights.shape
    values = np.empty((rows, 2 * half), np.float32)
    for byte in range(half):
        scale = E4M3[scales[:, byte // 8]]
        values[:, 2 * byte] = FP4[weights[:, byte] & 15] * scale
        values[:, 2 * byte + 1] = FP4[weights[:, byte] >> 4] * scale
    return values


def gguf_values(path: Path) -> dict[str, np.ndarray]:
    found = {}
    for tensor in GGUFReader(path).tensors:
        shape = [int(size) for size in reversed(tensor.shape)]
        data = bytes(tensor.data.tobytes())
        match tensor.tensor_type.name:
            case "NVFP4":
                values = ggml_nvfp4(data)
            case "BF16":
                values = _numbers("BF16", np.frombuffer(data, "<u2"))
            case "F16":
                values = _numbers("F16", np.frombuffer(data, "<u2"))
            case "F32":
                values = np.frombuffer(data, "<f4")
        found[tensor.name] = values.reshape(shape)
    return found


def ggml_nvfp4(data: bytes) -> np.ndarray:
    """block_nvfp4: four scales, then for each 8 bytes whose low nibbles are the first 8 values."""
    blocks = np.frombuffer(data, np.uint8).reshape(-1, 36)
    values = np.empty((len(blocks), 64), np.float32)
    for group in range(4):
        scale = E4M3[blocks[:, group]]
        for byte in range(8):
            codes = blocks[:, 4 + 8 * group + byte]
            values[:, 16 * group + byte] = FP4[codes & 15] * scale
            values[:, 16 * group + 8 + byte] = FP4[codes >> 4] * scale
    return values.ravel()


def ggml_rotary_order(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows as llama.cpp wants Llama's queries and keys: row i of a head, then i + half of it."""
    rows = len(values) // heads
    order = [
        head * rows + row + half * (rows // 2)
        for head in range(heads)
        for row in range(rows // 2)
        for half in (0, 1)
    ]
    return values[order]


def _numbers(dtype: str, data: np.ndarray) -> np.ndarray:
    if dtype == "BF16":
        return (data.astype(np.uint32) << 16).view(np.float32)
    if dtype == "F16":
        return data.view(np.float16).astype(np.float32)
    return data.view(np.float32)


def _safetensors(path: Path) -> dict[str, tuple[str, np.ndarray]]:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    types = {"U8": "u1", "F8_E4M3": "u1", "BF16": "<u2", "F16": "<u2", "F32": "<u4"}
    found = {}
    for name, entry in header.items():
        start, stop = (8 + length + offset for offset in entry["data_offsets"])
        array = np.frombuffer(data[start:stop], types[entry["dtype"]]).reshape(entry["shape"])
        found[name] = entry["dtype"], array
    return found
