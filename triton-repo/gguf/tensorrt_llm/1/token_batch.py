"""llama.cpp's batch: the tokens of a step, and of which of them it is to keep the logits."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, c_int8, c_int32
from typing import Any

import numpy as np
from llama_cpp import Batch

# Beyond this position attention takes most of a step, whatever the model's size.
DEEP = 1024


class TokenBatch:
    """llama.cpp's batch over our own arrays, filled in slices."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.size = 0
        self.outputs: dict[int, tuple[int, int]] = {}
        """Sequence to sample for -> its entry in the batch, and its row among all logits."""
        self.rows: dict[int, slice] = {}
        """Sequence with a row for each of its tokens -> these rows."""
        self.row_count = 0
        self.is_deep = False
        """Whether it holds a part of a prompt that lies far from its beginning."""
        self._tokens = np.zeros(capacity, np.int32)
        self._positions = np.zeros(capacity, np.int32)
        self._sequences = np.zeros(capacity, np.int32)
        self._counts = np.ones(capacity, np.int32)
        self._wanted = np.zeros(capacity, np.int8)
        address, step = self._sequences.ctypes.data, self._sequences.itemsize
        self._pointers = np.arange(capacity, dtype=np.uint64) * step + address
        self._batch = Batch(
            token=_pointer(self._tokens, c_int32),
            pos=_pointer(self._positions, c_int32),
            n_seq_id=_pointer(self._counts, c_int32),
            seq_id=_pointer(self._pointers, POINTER(c_int32)),
            logits=_pointer(self._wanted, c_int8),
        )

    def clear(self) -> None:
        self.size = 0
        self.outputs.clear()
        self.rows.clear()
        self.row_count = 0
        self.is_deep = False

    def add(
        self,
        sequence: int,
        position: int,
        tokens: Sequence[int],
        *,
        sample: bool,
        all_rows: bool = False,
    ) -> None:
        """A sequence's next tokens; `sample` after the last of them, or keep `all_rows` of logits.

        Add sequences in the order of their numbers: llama.cpp computes only those together of
        which each follows the one numbered before it.
        """
        if sample and len(tokens) == 1:
            self.add_token(sequence, position, tokens[0])
            return
        part = slice(self.size, self.size + len(tokens))
        self._tokens[part] = tokens
        self._positions[part] = range(position, position + len(tokens))
        self._sequences[part] = sequence
        self._wanted[part] = all_rows
        self.size += len(tokens)
        self.is_deep |= position >= DEEP
        if all_rows:
            # The last one's is the one to sample from.
            others = len(tokens) - sample
            self.rows[sequence] = slice(self.row_count, self.row_count + len(tokens))
            self.row_count += others
        if sample:
            self._want(sequence)

    def add_token(self, sequence: int, position: int, token: int) -> None:
        """One token of an answer. Called for every token: a slice would cost five times more."""
        self._tokens[self.size] = token
        self._positions[self.size] = position
        self._sequences[self.size] = sequence
        self.size += 1
        self._want(sequence)

    def _want(self, sequence: int) -> None:
        entry = self.size - 1
        self._wanted[entry] = 1
        self.outputs[sequence] = entry, self.row_count
        self.row_count += 1

    def as_parameter(self) -> Batch:
        self._batch.n_tokens = self.size
        return self._batch


def _pointer(array: np.ndarray, kind: Any) -> Any:
    return ctypes.cast(array.ctypes.data, POINTER(kind))
