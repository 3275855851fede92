"""Rearranges NVFP4 weights from ModelOpt's layout to ggml's, and rows to ggml's rotary order.

Lossless: the 4-bit values and their E4M3 scales only move. Pure functions on arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

GROUP = 16
"""Values that share one E4M3 scale."""

BLOCK_VALUES = 64
BLOCK_BYTES = 36
"""ggml's block_nvfp4: four scales, then four groups of eight bytes."""

LOW_NIBBLES = np.uint32(0x0F0F0F0F)
HIGH_NIBBLES = np.uint32(0xF0F0F0F0)
FOUR = np.uint32(4)


def repack_nvfp4(weights: Bytes, scales: Bytes) -> Bytes:
    """(rows, values / 2) nibbles and (rows, values / 16) scales -> (rows, bytes) of ggml blocks.

    The number of values in a row is a multiple of 64. A scale's sign bit must be clear.
    """
    rows, groups = scales.shape
    blocks = np.empty((rows, groups // 4, BLOCK_BYTES), np.uint8)
    blocks[:, :, :4] = scales.reshape(rows, groups // 4, 4)
    blocks[:, :, 4:] = reorder_nibbles(weights).reshape(rows, groups // 4, 32)
    return blocks.reshape(rows, groups // 4 * BLOCK_BYTES)


def reorder_nibbles(weights: Bytes) -> Bytes:
    """The same nibbles in ggml's order.

    In a group of 16 values ModelOpt's byte i holds values 2i (low nibble) and 2i + 1; ggml's byte
    j holds values j (low) and j + 8. Whole words of four bytes are rearranged at once: this is the
    hot loop of a build.
    """
    words = np.ascontiguousarray(weights).reshape(-1).view("<u4").reshape(-1, 2)
    first, second = words[:, 0], words[:, 1]
    even = (first & LOW_NIBBLES) | (second & LOW_NIBBLES) << FOUR
    odd = (first >> FOUR) & LOW_NIBBLES | second & HIGH_NIBBLES
    pairs = np.empty((even.size * 4, 2), np.uint8)
    pairs[:, 0] = even.view(np.uint8)
    pairs[:, 1] = odd.view(np.uint8)
    return pairs.reshape(weights.shape)


def interleave_rotary(rows: npt.NDArray[Any], head_dim: int) -> npt.NDArray[Any]:
    """Reorder the rows of whole heads.

    transformers rotates row i with row i + head_dim / 2, ggml rotates neighbours.
    """
    heads = rows.reshape(-1, 2, head_dim // 2, *rows.shape[1:])
    return heads.swapaxes(1, 2).reshape(rows.shape)
