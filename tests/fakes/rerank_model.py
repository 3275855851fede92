"""Makes a tiny reranker: a GGUF of a language model with a head of two labels, "yes" and "no"."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter

RANK = 4


def make_reranker(model: Path, out: Path) -> Path:
    reader = GGUFReader(model)
    fields = {name: field for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    architecture = fields.pop("general.architecture").contents()
    writer = GGUFWriter(out, architecture)
    for name, field in fields.items():
        kind, *_, inner = (*field.types, None) if len(field.types) == 1 else field.types
        is_array = kind == GGUFValueType.ARRAY
        writer.add_key_value(name, field.contents(), kind, sub_type=inner if is_array else None)
    writer.add_uint32(f"{architecture}.pooling_type", RANK)
    writer.add_array(f"{architecture}.classifier.output_labels", ["yes", "no"])
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    width = fields[f"{architecture}.embedding_length"].contents()
    head = np.random.default_rng(0).standard_normal((2, width)).astype(np.float32)
    writer.add_tensor("cls.output.weight", head / 10)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out
