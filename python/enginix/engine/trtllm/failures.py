"""Finds why a TensorRT-LLM program failed, from its exit status and its log."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from enginix.engine.trtllm.log import Banner, Failed, LogEvent
from enginix.errors import (
    BuildCrashed,
    DiskFull,
    EnginePathGone,
    EnginixError,
    GpuMemoryFull,
    NoGpu,
    NumpyMismatch,
    OutOfMemory,
    RuntimeMissing,
)
from enginix.memory import total_memory
from enginix.process import describe_exit

# A disk with less free space than this is full.
FULL_BYTES = 1_000_000

KILLED = (-9, 128 + 9)

NO_GPU = re.compile(
    r"libcuda\.so|libnvidia-ml|no NVIDIA driver|No CUDA GPUs|no CUDA-capable device|No GPU devices"
    r"|CUDA driver version is insufficient|max_workers must be greater than 0",
    re.IGNORECASE,
)
NO_SPACE = re.compile(r"No space left on device|Disk quota exceeded")
GPU_MEMORY = re.compile(r"OutOfMemory|CUDA out of memory|cudaErrorMemoryAllocation|out of memory$")
# A worker of the pool was killed, and the pool's owner reports it.
WORKER_KILLED = re.compile(r"BrokenProcessPool|MemoryError|Cannot allocate memory|std::bad_alloc")
NO_ENGINES = re.compile(
    r"No module named '?tensorrt_llm\.(?:commands|models|quantization)"
    r"|cannot import name 'MODEL_MAP'"
)
# TensorRT's bindings return weights as numpy arrays, but accept none of another numpy version:
# reported for every kind of model, so it is not about the rank file (TensorRT-LLM #11280, #14826).
NUMPY = re.compile(r"set_weights_name\(\): incompatible function arguments")
NO_RUNTIME = re.compile(r"No module named '?tensorrt_llm'?\)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended, and what is needed to find the reason."""

    program: str
    returncode: int
    events: Sequence[LogEvent]
    log: Path
    memory_needed: int
    """Its estimated bytes of RAM."""


def explain(ended: Ended) -> EnginixError:
    messages = [event.text for event in ended.events if isinstance(event, Failed)]
    text = "\n".join(messages)
    if NO_RUNTIME.search(text):
        return RuntimeMissing(
            f"{ended.program} did not find TensorRT-LLM in its Python; set "
            "ENGINIX_RUNTIME_TENSORRT_LLM to the directory whose bin/python imports it"
        )
    if NO_ENGINES.search(text):
        versions = [event.version for event in ended.events if isinstance(event, Banner)]
        return EnginePathGone(versions[0] if versions else "of this runtime")
    if NO_GPU.search(text):
        return NoGpu(ended.program, _first(messages, NO_GPU))
    if NUMPY.search(text):
        return NumpyMismatch(ended.program, ended.log)
    free = free_space(ended.log.parent)
    # On a full disk a program cannot even log its reason.
    if NO_SPACE.search(text) or (not messages and free < FULL_BYTES):
        return DiskFull(ended.program, ended.log.parent, free)
    if ended.returncode in KILLED or WORKER_KILLED.search(text):
        return OutOfMemory(ended.program, ended.memory_needed, total_memory(), ended.log)
    if GPU_MEMORY.search(text):
        return GpuMemoryFull(ended.program, _first(messages, GPU_MEMORY), ended.log)
    return BuildCrashed(
        ended.program, describe_exit(ended.returncode), messages[-1] if messages else "", ended.log
    )


def free_space(directory: Path) -> int:
    return shutil.disk_usage(directory).free


def _first(messages: Sequence[str], pattern: re.Pattern[str]) -> str:
    return next(text for text in messages if pattern.search(text))
