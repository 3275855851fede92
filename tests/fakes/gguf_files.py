"""Makes GGUF files out of another: with fewer layers, or in F32; and a LoRA adapter for one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
from gguf.quants import dequantize

NVFP4 = GGMLQuantizationType.NVFP4


def changed(
    model: Path,
    out: Path,
    values: Mapping[str, Any] | None = None,
    keep: Callable[[str], bool] = lambda name: True,
    finish: Callable[[GGUFWriter], None] = lambda writer: None,
) -> Path:
    """A copy with other `values` of keys that it has, and only the tensors to `keep`."""
    reader = GGUFReader(model)
    fields = {name: field for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    writer = GGUFWriter(out, fields.pop("general.architecture").contents())
    for name, field in fields.items():
        kind, *_, inner = (*field.types, None) if len(field.types) == 1 else field.types
        value = (values or {}).get(name, field.contents())
        is_array = kind == GGUFValueType.ARRAY
        writer.add_key_value(name, value, kind, sub_type=inner if is_array else None)
    for tensor in reader.tensors:
        if keep(tensor.name):
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    finish(writer)
    return written(writer, out)


def shallow(model: Path, out: Path, layers: int) -> Path:
    """The same model without its last layers: it guesses well what the whole one says."""
    keep = lambda name: not name.startswith("blk.") or int(name.split(".")[1]) < layers  # noqa: E731
    return changed(model, out, {"qwen3.block_count": layers}, keep)


def in_f32(model: Path, out: Path) -> Path:
    """The same model without NVFP4: its scales are in its weights."""
    tensors = {tensor.name: tensor for tensor in GGUFReader(model).tensors}
    packed = {name for name, tensor in tensors.items() if tensor.tensor_type == NVFP4}

    def finish(writer: GGUFWriter) -> None:
        for name in sorted(packed):
            scale = tensors[name.replace(".weight", ".scale")].data
            values = dequantize(tensors[name].data, NVFP4) * scale
            writer.add_tensor(name, values.astype(np.float32))

    keep = lambda name: name not in packed and not name.endswith("scale")  # noqa: E731
    return changed(model, out, keep=keep, finish=finish)


def adapter(model: Path, out: Path, module: str, seed: int = 0, architecture: str = "") -> Path:
    """A LoRA adapter that changes `module` of all layers, and so every answer."""
    reader, draw = GGUFReader(model), np.random.default_rng(seed)
    own = str(reader.fields["general.architecture"].contents())
    writer = GGUFWriter(out, architecture or own)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 4.0)
    for tensor in reader.tensors:
        if tensor.name.endswith(f".{module}.weight"):
            width, height = (int(size) for size in tensor.shape)
            for half, shape in (("a", (4, width)), ("b", (height, 4))):
                values = 0.3 * draw.standard_normal(shape)
                writer.add_tensor(f"{tensor.name}.lora_{half}", values.astype(np.float32))
    return written(writer, out)


def written(writer: GGUFWriter, out: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out
