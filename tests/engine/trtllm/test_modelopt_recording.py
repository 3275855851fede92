"""Our rank files equal, byte for byte, those of NVIDIA's own converter for the same checkpoints.

`tests/recordings/modelopt/` is made by tools/modelopt/record.py, with the real ModelOpt.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from engine.trtllm.conftest import Report
from engine.trtllm.modelopt_names import (
    CACHE_SCALES,
    ONLY_OURS,
    SHARDED_EMBEDDING,
    last_word,
    our_name,
)
from engine.trtllm.slices import Bytes, read, rows_of

RECORDING = Path(
    os.environ.get("ENGINIX_MODELOPT_RECORDING")
    or Path(__file__).parents[2] / "recordings" / "modelopt"
)
FAMILIES = json.loads((RECORDING / "recording.json").read_text())["families"]
CASES = [(family, int(ranks)) for family, made in FAMILIES.items() for ranks in made]

Convert = Callable[[Path, int], Path]


@dataclass(frozen=True)
class Recorded:
    """One tensor as ModelOpt wrote it; `value` where it is a single number."""

    dtype: str
    shape: tuple[int, ...]
    sha256: str
    value: float | None


def parse(line: str) -> Recorded:
    dtype, shape, digest, *value = line.split()
    sizes = () if shape == "scalar" else tuple(map(int, shape.split("x")))
    return Recorded(dtype, sizes, digest, float(value[0]) if value else None)


def is_same(theirs: Recorded, dtype: str, ours: Bytes) -> bool:
    # ModelOpt writes a single number without a dimension, TensorRT-LLM with one.
    shape = ours.shape[:-1] if theirs.shape else ()
    same = sha256(np.ascontiguousarray(ours).tobytes()).hexdigest() == theirs.sha256
    return same and dtype == theirs.dtype and shape == theirs.shape


@pytest.mark.parametrize(("family", "ranks"), CASES)
def test_every_tensor_modelopt_writes_is_ours_byte_for_byte(
    convert: Convert, report: Report, family: str, ranks: int
) -> None:
    made = convert(RECORDING / family, ranks)
    for rank, lines in enumerate(FAMILIES[family][str(ranks)]):
        ours = read(made / f"rank{rank}.safetensors")
        recorded = {name: parse(line) for name, line in lines.items()}
        different = []
        for name, theirs in recorded.items():
            if last_word(name) in CACHE_SCALES:
                continue
            dtype, data = ours[our_name(name)]
            part = rows_of(data, rank, ranks) if name == SHARDED_EMBEDDING else data
            same = is_same(theirs, dtype, part)
            report.count(part.size if same else 0)
            if not same:
                different.append(name)
        assert not different
        extra = ours.keys() - {our_name(name) for name in recorded}
        assert {last_word(name) for name in extra} == set(ONLY_OURS)


@pytest.mark.parametrize("family", FAMILIES)
def test_cache_scales_are_the_checkpoints_and_modelopt_raises_them_to_one(
    convert: Convert, family: str
) -> None:
    checkpoint = read(RECORDING / family / "model.safetensors")
    ours = read(convert(RECORDING / family, 1) / "rank0.safetensors")
    recorded = {name: parse(line) for name, line in FAMILIES[family]["1"][0].items()}
    for index in range(2):
        theirs = f"transformer.layers.{index}.attention"
        keys, values = (
            checkpoint[f"model.layers.{index}.self_attn.{each}_proj.{each}_scale"][1].view("<f4")
            for each in "kv"
        )
        scale = ours[f"{theirs}.kv_cache_scaling_factor"][1].view("<f4")
        assert scale.item() == max(keys.item(), values.item()) < 1
        assert [recorded[f"{theirs}.{name}"].value for name in CACHE_SCALES] == [1.0, 1.0, 1.0]


def test_the_recording_covers_what_it_promises() -> None:
    assert sorted(FAMILIES) == ["llama", "mistral", "qwen2", "qwen3"]
    assert {ranks for _, ranks in CASES} == {1, 2, 4}


def test_a_single_flipped_bit_is_found(convert: Convert) -> None:
    ours = read(convert(RECORDING / "llama", 2) / "rank1.safetensors")
    name = "transformer.layers.1.mlp.proj.weight"
    theirs = parse(FAMILIES["llama"]["2"][1][name])
    dtype, data = ours[name]
    assert is_same(theirs, dtype, data)
    changed = data.copy()
    changed[-1, -1] ^= 1
    assert not is_same(theirs, dtype, changed)
    assert not is_same(theirs, dtype, data.reshape(64, -1, 1))
