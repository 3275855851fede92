"""A conversation's next turn has the blocks of the one before."""

from __future__ import annotations

from enginix.backends.replicas.prefixes import (
    BLOCK_BYTES,
    MAX_BLOCKS,
    PrefixMemory,
    prefix_blocks,
)

TURN = b"".join(b"message %d of a conversation; " % n for n in range(100))


def test_a_longer_prompt_begins_with_the_blocks_of_the_shorter() -> None:
    before = prefix_blocks(TURN[:1000])
    assert prefix_blocks(TURN)[: len(before)] == before
    assert len(before) == 1000 // BLOCK_BYTES


def test_a_block_depends_on_all_before_it() -> None:
    one, other = prefix_blocks(b"a" + TURN[1:]), prefix_blocks(b"b" + TURN[1:])
    assert not set(one) & set(other)


def test_a_prompt_shorter_than_a_block_has_none() -> None:
    assert prefix_blocks(b"x" * (BLOCK_BYTES - 1)) == []


def test_only_the_beginning_of_a_very_long_prompt_is_compared() -> None:
    assert len(prefix_blocks(bytes(2 * MAX_BLOCKS * BLOCK_BYTES))) == MAX_BLOCKS


def test_the_longest_known_beginning_decides() -> None:
    memory = PrefixMemory()
    memory.remember([1, 2, 3], replica=0)
    memory.remember([1, 2, 4], replica=1)
    assert memory.holder([1, 2, 3, 9]) == 0
    assert memory.holder([1, 2, 4, 9]) == 1
    assert memory.holder([1, 2, 5]) == 1
    assert memory.holder([7]) is None


def test_what_was_used_least_recently_is_forgotten_first() -> None:
    memory = PrefixMemory(capacity=2)
    memory.remember([1], replica=0)
    memory.remember([2], replica=0)
    memory.remember([1], replica=1)
    memory.remember([3], replica=0)
    assert memory.holder([2]) is None
    assert memory.holder([1]) == 1
