"""The layout cuBLASLt wants block scales in: tiles of 128 rows x 4 columns.

Row m and column k of the plain matrix go to byte `(m % 32) * 16 + (m % 128) // 32 * 4 + k % 4` of
tile (m // 128, k // 4); tiles follow each other row by row. Shapes are padded up to whole tiles.
(CUDA: cuBLAS documentation, "1D block scaling factors layout".)
"""

import numpy as np


def block_scale_interleave(scales: np.ndarray) -> np.ndarray:
    """A flat array, longer than the input where that has no whole tiles."""
    rows, columns = scales.shape
    padded = np.zeros((-(-rows // 128) * 128, -(-columns // 4) * 4), scales.dtype)
    padded[:rows, :columns] = scales
    tiles = padded.reshape(padded.shape[0] // 128, 4, 32, padded.shape[1] // 4, 4)
    return tiles.transpose(0, 3, 2, 1, 4).reshape(-1)


def interleaved_as(scales: np.ndarray) -> np.ndarray:
    """As the original's loader does it: reshaped to the unpadded shape, or an error."""
    flat = block_scale_interleave(scales)
    if flat.size != scales.size:
        raise RuntimeError(f"shape '{list(scales.shape)}' is invalid for input of size {flat.size}")
    return flat.reshape(scales.shape)
