"""GPUs are read from nvidia-smi's output, and CUDA_VISIBLE_DEVICES is read as CUDA reads it."""

from __future__ import annotations

import pytest

from enginix.triton.server.gpus import parse_gpus, visible_gpus

TWO = """\
0, GPU-aaaa1111-0000, NVIDIA RTX PRO 6000 Blackwell, 12.0, 97887, 97000, 580.65.06
1, GPU-bbbb2222-0000, NVIDIA RTX PRO 6000 Blackwell, 12.0, 97887, 1200, 580.65.06
"""


def test_every_row_is_a_gpu() -> None:
    first, second = parse_gpus(TWO)
    assert (first.compute_capability, first.memory_total) == ("12.0", 97887)
    assert (second.index, second.memory_free) == (1, 1200)


def test_unified_memory_is_not_reported() -> None:
    (gb10,) = parse_gpus("0, GPU-c, NVIDIA GB10, 12.1, [N/A], [N/A], 580.95.05")
    assert gb10.memory_total == 0


@pytest.mark.parametrize("text", ["", "No devices were found\n", "garbage, with, commas"])
def test_other_output_lists_no_gpus(text: str) -> None:
    assert parse_gpus(text) == []


@pytest.mark.parametrize(
    ("variable", "indices"),
    [
        (None, [0, 1]),
        ("1,0", [1, 0]),
        ("1", [1]),
        ("", []),
        ("-1", []),
        ("0,7,1", [0]),
        ("GPU-bbbb", [1]),
        ("GPU-", []),
    ],
)
def test_the_visible_ones_are_those_cuda_sees(variable: str | None, indices: list[int]) -> None:
    assert [gpu.index for gpu in visible_gpus(parse_gpus(TWO), variable)] == indices
