"""The ceiling of single-stream decoding, or why it is not known."""

from __future__ import annotations

import pytest

from enginix.bench.report.roofline import BANDWIDTH, Memory, memory_of, roofline
from enginix.errors import UsageError


@pytest.mark.parametrize(
    ("text", "gb_per_second"),
    [
        ("NVIDIA H200", 4800),
        ("H200", 4800),
        ("h100 pcie", 2000),
        ("4x NVIDIA H100 80GB HBM3", 4 * 3350),
        ("2xRTX 4090", 2 * 1008),
        ("L4", 300),
        ("8x B300", 8 * 8000),
    ],
)
def test_a_gpu_is_found_by_the_words_of_its_name(text: str, gb_per_second: float) -> None:
    assert memory_of(text).gb_per_second == gb_per_second


@pytest.mark.parametrize("name", BANDWIDTH)
def test_a_full_name_is_never_ambiguous(name: str) -> None:
    assert memory_of(name).gb_per_second == BANDWIDTH[name]


def test_a_name_that_several_have_is_refused_with_their_names() -> None:
    with pytest.raises(UsageError, match="expected one of NVIDIA H100 80GB HBM3, NVIDIA H100 NVL"):
        memory_of("H100")


@pytest.mark.parametrize("text", ["", "Arc B580", "0x H200", "H2"])
def test_an_unknown_gpu_is_refused_with_the_way_out(text: str) -> None:
    with pytest.raises(UsageError, match="--bandwidth GB/S"):
        memory_of(text)


def test_the_ceiling_is_the_bandwidth_over_the_bytes_of_a_token() -> None:
    found = roofline(Memory(4800, "H200 at 4800 GB/s"), 16_000_000_000, "Qwen3ForCausalLM")

    assert found.tokens_per_second == 300
    assert "H200 at 4800 GB/s, 16 GB of weights" in found.because


@pytest.mark.parametrize(
    ("memory", "weights", "architecture", "missing"),
    [
        (None, 10, "Qwen3ForCausalLM", "--gpu"),
        (Memory(1, ""), None, "Qwen3ForCausalLM", "--weights-bytes"),
        (Memory(1, ""), 10, "Qwen3MoeForCausalLM", "may read a part of its weights"),
        (Memory(1, ""), 10, "None", "may read a part of its weights"),
    ],
)
def test_what_is_missing_is_said(
    memory: Memory | None, weights: int | None, architecture: str, missing: str
) -> None:
    found = roofline(memory, weights, architecture)

    assert found.tokens_per_second is None
    assert found.because.startswith("unknown: ")
    assert missing in found.because


def test_the_users_bytes_hold_for_any_architecture() -> None:
    assert roofline(Memory(1, ""), 1_000_000_000, None).tokens_per_second == 1
