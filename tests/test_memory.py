"""Main memory, as the kernel tells it."""

from __future__ import annotations

import os

from enginix.memory import available_memory, resident_memory, total_memory


def test_resident_memory_is_the_sum_of_the_processes_that_are_there() -> None:
    one = resident_memory([os.getpid()])
    assert one > 10 << 20
    assert resident_memory([os.getpid(), os.getpid(), 2**22 + 1]) > one
    assert resident_memory([]) == 0


def test_available_memory_is_a_part_of_all_memory() -> None:
    assert 0 < available_memory() < total_memory()
