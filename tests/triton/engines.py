"""Engines of kind tensorrt-llm for tests without a GPU."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from enginix.manifest import (
    BuiltWith,
    Limits,
    Manifest,
    Parallelism,
    Quantization,
    Source,
    write_manifest,
)

CONFIG = {
    "version": "1.2.1",
    "pretrained_config": {"quantization": {"quant_algo": "NVFP4"}},
    "build_config": {},
}


def tensorrt_llm_manifest(ranks: int = 1, **changes: Any) -> Manifest:
    manifest = Manifest(
        name="qwen3-32b",
        kind="tensorrt-llm",
        architecture="Qwen3ForCausalLM",
        source=Source("nvidia/Qwen3-32B-NVFP4", None, {}),
        quantization=Quantization("NVFP4", "FP8", 16),
        parallelism=Parallelism(tp=ranks, pp=1, world_size=ranks),
        limits=Limits(max_batch_size=8, max_seq_len=16384, max_num_tokens=8192),
        built_with=BuiltWith("0.1.0", tensorrt_llm="1.2.1", compute_capability="12.0"),
        files={},
    )
    return replace(manifest, **changes)


def write_engine(directory: Path, ranks: int, extra: bytes = b"") -> Manifest:
    """An engine whose rank files TensorRT could not load."""
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(CONFIG))
    (directory / "tokenizer.json").write_text("{}")
    for rank in range(ranks):
        (directory / f"rank{rank}.engine").write_bytes(b"plan" * 100 + extra)
    files = {path.name: path.stat().st_size for path in directory.iterdir()}
    manifest = tensorrt_llm_manifest(ranks, files=files)
    write_manifest(directory, manifest)
    return manifest
