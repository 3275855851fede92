"""How much of the GPUs' memory a server's processes take."""

from __future__ import annotations

from enginix.serve.gpu_memory import bytes_by_process


def test_a_process_has_memory_on_several_gpus() -> None:
    assert bytes_by_process("17, 1024\n18, 3\n17, 1024\n19, [N/A]\nNo devices were found\n") == {
        17: 2 << 30,
        18: 3 << 20,
    }
