"""The gguf kind for `enginix engine`: its default limits, its check and its token engine."""

from __future__ import annotations

import argparse
from pathlib import Path

from enginix.cli import environment
from enginix.engine.build import Build, Job
from enginix.engine.gguf.program import Generator
from enginix.errors import RuntimeMissing
from enginix.manifest import Limits
from enginix.runtimes.find import find_triton_cpu
from enginix.runtimes.runtime import TRITON_CPU
from enginix.triton.template_files import TEMPLATES

KIND = "gguf"
GENERATE = Path("gguf", "tensorrt_llm", "1", "generate.py")

# Defaults outside the catalogue: a KV cache that fits a small machine.
LIMITS = Limits(max_batch_size=8, max_seq_len=4096, max_num_tokens=512)

# Prompts for a checkpoint without recorded answers; its answers become the manifest's check.
QUESTIONS = (
    "The capital of France is",
    "def fibonacci(n):\n",
    "1 2 3 4 5 6 7 8",
    "Die Katze sitzt auf",
)


def builder(job: Job, out: Path, args: argparse.Namespace | None) -> Build:
    # Imports numpy and gguf, which `verify` and `show` do not need.
    from enginix.engine.gguf.build import gguf_build

    try:
        return gguf_build(job, generator())
    except RuntimeMissing:
        # A runtime that was named must exist; without one the build only skips the check.
        if environment.runtime_override(TRITON_CPU.kind):
            raise
        return gguf_build(job, None)


def generator() -> Generator:
    """The token engine in its runtime; RuntimeMissing if that is not set up."""
    override = environment.runtime_override(TRITON_CPU.kind)
    runtime = find_triton_cpu(environment.cache_home(), override)
    return Generator(
        python=runtime.python,
        program=TEMPLATES / GENERATE,
        environment=environment.for_child(),
    )
