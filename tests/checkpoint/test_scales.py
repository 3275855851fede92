"""Scales are read in place, in as few reads as their offsets allow."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkpoint.files import safetensors
from checkpoint.models import number, plain

from enginix.checkpoint.scales import is_scale, read_scales
from enginix.checkpoint.tensors import read_header
from enginix.errors import CheckpointDamaged


def test_numbers_of_every_type_are_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    tensors = {
        "f32": number(0.375),
        "bf16": ("BF16", [1], b"\xc0\x3e"),
        "f16": ("F16", [1, 1], b"\x00\x36"),
    }
    path.write_bytes(safetensors(tensors))
    found = read_scales(read_header(path).values())
    assert found == {"f32": 0.375, "bf16": 0.375, "f16": 0.375}


def test_numbers_far_apart_are_read_without_the_bytes_between(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    tensors = {"a": number(1.0), "between": plain(5000), "b": number(2.0), "c": number(3.0)}
    path.write_bytes(safetensors(tensors))
    header = read_header(path)
    wanted = [header[name] for name in "cab"]
    assert read_scales(wanted) == {"a": 1.0, "b": 2.0, "c": 3.0}


def test_a_file_that_shrinks_meanwhile_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors({"a": number(1.0)}))
    tensors = read_header(path).values()
    path.write_bytes(b"")
    with pytest.raises(CheckpointDamaged, match="became shorter"):
        read_scales(tensors)


@pytest.mark.parametrize("value", [0.0, -0.0, -1.0, float("nan"), float("inf"), float("-inf")])
def test_an_unusable_scale_is_refused(value: float) -> None:
    assert not is_scale(value)


def test_the_smallest_number_above_zero_is_a_scale() -> None:
    assert is_scale(1e-45)
