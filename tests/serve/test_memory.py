"""How much memory a server's processes take."""

from __future__ import annotations

import os

from enginix.serve.memory import bytes_by_process, resident_bytes


def test_resident_memory_is_the_sum_of_the_processes_that_are_there() -> None:
    one = resident_bytes([os.getpid()])
    assert one > 10 << 20
    assert resident_bytes([os.getpid(), os.getpid(), 2**22 + 1]) > one
    assert resident_bytes([]) == 0


def test_a_process_has_memory_on_several_gpus() -> None:
    assert bytes_by_process("17, 1024\n18, 3\n17, 1024\n19, [N/A]\nNo devices were found\n") == {
        17: 2 << 30,
        18: 3 << 20,
    }
