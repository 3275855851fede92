"""Writes small safetensors files by hand, so that a test can also write invalid ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Header = dict[str, Any]

TWO_TENSORS: dict[str, tuple[str, list[int], bytes]] = {
    "a.weight": ("F32", [2, 3], bytes(range(24))),
    "b.weight": ("BF16", [4], b"\1\2\3\4\5\6\7\0"),
}


def header_of(tensors: Mapping[str, tuple[str, list[int], bytes]]) -> Header:
    header: Header = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + len(data)]}
        end += len(data)
    return header


def file_of(header: object, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def safetensors(tensors: Mapping[str, tuple[str, list[int], bytes]] = TWO_TENSORS) -> bytes:
    return file_of(header_of(tensors), b"".join(data for _, _, data in tensors.values()))


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
