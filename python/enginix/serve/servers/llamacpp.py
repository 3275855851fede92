"""llama.cpp's OpenAI server, run from the wheel in the triton-cpu runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from enginix.runtimes.find import runtime_root
from enginix.runtimes.runtime import TRITON_CPU
from enginix.runtimes.triton_cpu import OPENMP
from enginix.serve.environment import Environment
from enginix.serve.model_entry import LOOPBACK, ModelEntry
from enginix.serve.servers.program import Command, Reads, ServerProgram, flags, visible_gpus

SCRIPT = Path(__file__).parents[1] / "llama_server.py"
METHODS = {
    "eagle3": "draft-eagle3",
    "mtp": "draft-mtp",
    "draft": "draft-simple",
    "ngram": "ngram-simple",
}


def _command(program: Sequence[str], entry: ModelEntry, model: str, _settings: Path) -> Command:
    return Command(
        [
            *program,
            f"--model={model}",
            f"--alias={entry.name}",
            f"--host={LOOPBACK}",
            f"--port={entry.http_port}",
            "--keep-to-cores",
            *([f"--task={entry.task}"] if entry.task != "generate" else []),
            *flags(entry.options),
            *([f"--context={entry.max_model_len}"] if entry.max_model_len else []),
            *_speculative(entry),
            *(f"--lora={path}" for path in entry.adapters.values()),
        ],
        {**visible_gpus(entry), **OPENMP},
    )


def _speculative(entry: ModelEntry) -> list[str]:
    drafts = entry.speculative
    if drafts is None:
        return []
    return [
        f"--spec-type={METHODS[drafts.method]}",
        f"--spec-draft-n-max={drafts.tokens}",
        *([f"--spec-draft-model={drafts.model}"] if drafts.model else []),
    ]


def _chooses(entry: ModelEntry, adapter: str | None) -> dict[str, Any]:
    """What each request has so that it is answered by that adapter, or by none."""
    if not entry.adapters:
        return {}
    chosen = [{"id": [*entry.adapters].index(adapter), "scale": 1.0}] if adapter else []
    # It would take what one adapter has read of a prompt for what another one reads.
    return {"lora": chosen, "cache_prompt": False}


def _own_program(environment: Environment) -> list[str]:
    root = environment.runtime(TRITON_CPU.kind) or runtime_root(TRITON_CPU, environment.home)
    return [str(root / "bin" / "python"), str(SCRIPT)]


LLAMACPP = ServerProgram(
    name="llamacpp",
    title="llama-server",
    reads=Reads.GGUF,
    tasks=("generate", "embed", "rerank"),
    command=_command,
    recipes=(TRITON_CPU,),
    own_program=_own_program,
    slots="parallel",
    speculative=METHODS,
    adapters=True,
    chooses=_chooses,
    metrics_path="/metrics",
    metrics_of_drafts=True,
)
