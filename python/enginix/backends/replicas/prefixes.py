"""Remembers which replica has a prompt's beginning in its cache, by what was sent where."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

# 64 token ids of four bytes, or as many bytes of JSON: engines cache blocks of 32 to 128 tokens.
BLOCK_BYTES = 256
# What is compared of a prompt: 64,000 tokens.
MAX_BLOCKS = 1000
REMEMBERED = 20_000


def prefix_blocks(prompt: bytes) -> list[int]:
    """For each whole block of `prompt`, a hash of it and of everything before it.

    The hashes differ from process to process.
    """
    blocks: list[int] = []
    known = 0
    for end in range(BLOCK_BYTES, min(len(prompt), MAX_BLOCKS * BLOCK_BYTES) + 1, BLOCK_BYTES):
        known = hash((known, prompt[end - BLOCK_BYTES : end]))
        blocks.append(known)
    return blocks


class PrefixMemory:
    """Forgets the blocks that were used least recently, beyond `capacity`."""

    def __init__(self, capacity: int = REMEMBERED) -> None:
        self._capacity = capacity
        self._holders: OrderedDict[int, int] = OrderedDict()

    def remember(self, blocks: Sequence[int], replica: int) -> None:
        for block in blocks:
            self._holders[block] = replica
            self._holders.move_to_end(block)
        while len(self._holders) > self._capacity:
            self._holders.popitem(last=False)

    def holder(self, blocks: Sequence[int]) -> int | None:
        """The replica that has seen the longest beginning of these blocks."""
        for block in reversed(blocks):
            if (holder := self._holders.get(block)) is not None:
                return holder
        return None
