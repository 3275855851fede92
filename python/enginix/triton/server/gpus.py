"""Lists this machine's GPUs through `nvidia-smi`; nothing here touches CUDA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from enginix.errors import ProcessError
from enginix.process import find_program, run

QUERY = "index,uuid,name,compute_cap,memory.total,memory.free,driver_version"
TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Gpu:
    """Memory is in MiB, as nvidia-smi reports it; 0 where the driver does not report it (GB10)."""

    index: int
    uuid: str
    name: str
    compute_capability: str
    memory_total: int
    memory_free: int
    driver: str


def query_gpus() -> list[Gpu]:
    """Every GPU of the machine; an empty list without a driver or nvidia-smi."""
    program = find_program("nvidia-smi")
    if program is None:
        return []
    flags = [f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"]
    try:
        return parse_gpus(run([str(program), *flags], timeout=TIMEOUT_SECONDS))
    except ProcessError:
        # nvidia-smi without a working driver counts as a machine without GPUs; `enginix doctor`
        # shows its output.
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
    """The GPUs that CUDA would see, in order: the list ends at the first name CUDA rejects."""
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
