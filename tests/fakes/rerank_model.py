"""Makes a tiny reranker: a GGUF of a language model with a head of two labels, "yes" and "no"."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fakes.gguf_files import changed
from gguf import GGUFReader, GGUFWriter

RANK = 4


def make_reranker(model: Path, out: Path) -> Path:
    fields = GGUFReader(model).fields
    architecture = fields["general.architecture"].contents()
    width = fields[f"{architecture}.embedding_length"].contents()

    def finish(writer: GGUFWriter) -> None:
        writer.add_uint32(f"{architecture}.pooling_type", RANK)
        writer.add_array(f"{architecture}.classifier.output_labels", ["yes", "no"])
        head = np.random.default_rng(0).standard_normal((2, width)).astype(np.float32)
        writer.add_tensor("cls.output.weight", head / 10)

    return changed(model, out, finish=finish)
