"""Which GPUs this machine has, as `nvidia-smi` tells; nothing here touches CUDA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from enginix.errors import ProcessError
from enginix.process import find_program, run

QUERY = "index,uuid,name,compute_cap,memory.total,memory.free,driver_version"
PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Gpu:
    """Memory is in MiB, as nvidia-smi counts it; 0 where the driver does not tell (GB10)."""

    index: int
    uuid: str
    name: str
    compute_capability: str
    memory_total: int
    memory_free: int
    driver: str


def query_gpus() -> list[Gpu]:
    """Every GPU of the machine; none where there is no driver or nvidia-smi."""
    program = find_program("nvidia-smi")
    if program is None:
        return []
    flags = [f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"]
    try:
        return parse_gpus(run([str(program), *flags], timeout=PATIENCE))
    except ProcessError:
        # nvidia-smi without a working driver: to us, a machine without GPUs. `enginix doctor`
        # shows its words.
        return []


def parse_gpus(text: str) -> list[Gpu]:
    rows = [[word.strip() for word in line.split(",")] for line in text.splitlines()]
    return [
        Gpu(int(index), uuid, name, capability, _mib(total), _mib(free), driver)
        for index, uuid, name, capability, total, free, driver in (
            row for row in rows if len(row) == 7 and row[0].isdigit()
        )
    ]


def visible_gpus(gpus: Sequence[Gpu], cuda_visible_devices: str | None) -> list[Gpu]:
    """Those CUDA would see, in its order: the list ends at the first name CUDA does not know."""
    if cuda_visible_devices is None:
        return list(gpus)
    visible: list[Gpu] = []
    for word in (word.strip() for word in cuda_visible_devices.split(",")):
        named = [
            gpu
            for gpu in gpus
            if word == str(gpu.index) or (word.startswith("GPU-") and gpu.uuid.startswith(word))
        ]
        if len(named) != 1:
            break
        visible += named
    return visible


def _mib(word: str) -> int:
    return int(word) if word.isdigit() else 0
