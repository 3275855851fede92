"""Repacking keeps every value: ModelOpt's nibbles and scales in ggml's order."""

from __future__ import annotations

import numpy as np
import pytest
from engine.gguf.values import ggml_nvfp4, ggml_rotary_order, modelopt_nvfp4
from hypothesis import given
from hypothesis import strategies as st

from enginix.engine.gguf.repack import interleave_rotary, reorder_nibbles, repack_nvfp4


def test_a_group_counted_up_has_its_second_half_in_the_high_nibbles() -> None:
    # ModelOpt: byte i = value 2i | value 2i + 1 << 4, with the values 0, 1, ..., 15.
    counted = np.array([[0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE]], np.uint8)

    assert reorder_nibbles(counted).tobytes().hex(" ") == "80 91 a2 b3 c4 d5 e6 f7"


def test_a_block_begins_with_its_four_scales() -> None:
    scales = np.array([[1, 2, 3, 4, 5, 6, 7, 8]], np.uint8)

    blocks = repack_nvfp4(np.zeros((1, 64), np.uint8), scales)

    assert blocks.shape == (1, 72)
    assert blocks[0, :4].tolist() == [1, 2, 3, 4]
    assert blocks[0, 36:40].tolist() == [5, 6, 7, 8]


def test_a_group_is_found_behind_the_scales_in_its_own_place() -> None:
    weights = np.zeros((1, 32), np.uint8)
    weights[0, 16] = 0x05  # the first value of the third group

    assert np.flatnonzero(repack_nvfp4(weights, np.zeros((1, 4), np.uint8))[0]).tolist() == [20]


@given(rows=st.integers(1, 5), blocks=st.integers(1, 3), seed=st.integers(0, 2**32 - 1))
def test_every_value_survives(rows: int, blocks: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    weights = random.integers(0, 256, (rows, 32 * blocks), np.uint8)
    scales = random.integers(0, 0x7F, (rows, 4 * blocks), np.uint8)

    repacked = ggml_nvfp4(repack_nvfp4(weights, scales).tobytes())

    np.testing.assert_array_equal(repacked, modelopt_nvfp4(weights, scales).ravel())


def test_weights_that_lie_apart_in_memory_are_repacked_as_they_read() -> None:
    weights = np.random.default_rng(0).integers(0, 256, (6, 64), np.uint8)[::2]
    scales = np.full((3, 8), 0x38, np.uint8)

    together = repack_nvfp4(np.ascontiguousarray(weights), scales)

    np.testing.assert_array_equal(repack_nvfp4(weights, scales), together)


@pytest.mark.parametrize("heads", [1, 3])
def test_rows_of_a_head_alternate_between_its_halves(heads: int) -> None:
    rows = np.arange(heads * 8 * 2).reshape(heads * 8, 2)

    found = interleave_rotary(rows, head_dim=8)

    np.testing.assert_array_equal(found, ggml_rotary_order(rows, heads))
    assert (found[:4, 0] // 2).tolist() == [0, 4, 1, 5]
