"""trtllm-serve, TensorRT-LLM's OpenAI server."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from enginix.runtimes.runtime import Recipe
from enginix.serve.model_entry import LOOPBACK, ModelEntry
from enginix.serve.servers.program import (
    Command,
    Reads,
    ServerProgram,
    flags,
    openai_address,
    visible_gpus,
)

# In the words of release 1.2, which newer ones know.
METHODS = {"eagle3": "Eagle", "mtp": "MTP", "draft": "DraftTarget", "ngram": "NGram"}
NGRAM = 3
"""The most tokens of the text's end that are looked for in it."""


def _command(program: Sequence[str], entry: ModelEntry, model: str, settings: Path) -> Command:
    return Command(
        [
            *program,
            model,
            f"--host={LOOPBACK}",
            f"--port={entry.http_port}",
            *(["--backend=_autodeploy"] if entry.autodeploy else []),
            *([f"--max_seq_len={entry.max_model_len}"] if entry.max_model_len else []),
            f"--extra_llm_api_options={settings}",
            *flags(entry.options, dash="_"),
        ],
        visible_gpus(entry),
        # JSON is valid YAML.
        {settings: json.dumps(_settings(entry), indent=2) + "\n"},
    )


def _settings(entry: ModelEntry) -> dict[str, Any]:
    """The file of --extra_llm_api_options, which overrides the command line: it has everything."""
    settings: dict[str, Any] = dict(entry.autodeploy)
    if entry.dtype:
        settings["dtype"] = entry.dtype
    if entry.max_model_len and "max_seq_len" in settings:
        settings["max_seq_len"] = entry.max_model_len
    if entry.memory:
        cache = dict(settings.get("kv_cache_config", {}))
        cache.setdefault("free_gpu_memory_fraction", entry.memory)
        settings["kv_cache_config"] = cache
    return settings | _speculative(entry)


def _speculative(entry: ModelEntry) -> dict[str, Any]:
    drafts = entry.speculative
    if drafts is None:
        return {}
    # MTP counts its layers; newer releases take that as the number of tokens.
    tokens = "num_nextn_predict_layers" if drafts.method == "mtp" else "max_draft_len"
    config: dict[str, Any] = {"decoding_type": METHODS[drafts.method], tokens: drafts.tokens}
    if drafts.model:
        # Newer releases call it speculative_model, and know it by this name, too.
        config["speculative_model_dir"] = drafts.model
    if drafts.method == "ngram":
        config["max_matching_ngram_size"] = NGRAM
    return {
        "speculative_config": config,
        # Both methods draft outside the model's own step.
        **({"disable_overlap_scheduler": True} if drafts.method in ("draft", "ngram") else {}),
        # Without them its metrics do not say how many tokens were accepted.
        "return_perf_metrics": True,
        "enable_iter_perf_stats": True,
    }


def _address(entry: ModelEntry, model: str) -> dict[str, str]:
    """It names a directory's model by its last part, and any other as it was given."""
    upstream = Path(model).name if Path(model).is_dir() else model
    return {**openai_address(entry, model), "upstream": upstream}


TRTLLM = ServerProgram(
    name="trtllm",
    title="trtllm-serve",
    aliases=("tensorrt-llm", "cuda-trt"),
    reads=Reads.CHECKPOINT,
    engine_kinds=("llmapi",),
    command=_command,
    recipes=(
        Recipe(
            "trtllm",
            ("tensorrt_llm",),
            pythons=("3.10", "3.12"),
            needs="Linux with CUDA, and pip must know NVIDIA's package index: PyPI has only a "
            "stub of it",
            program="trtllm-serve",
        ),
    ),
    ready_seconds=1800.0,
    memory=0.9,
    slots="max_batch_size",
    speculative=METHODS,
    lacks={
        "adapters": "trtllm-serve takes them from each request's lora_request, and not by a name "
        'of their own; serve the checkpoint with engine = "vllm"'
    },
    ranks="tp_size",
    parsers={"reasoning": "reasoning_parser", "tools": "tool_parser"},
    address=_address,
    # Only with its option return_perf_metrics.
    metrics_path="/prometheus/metrics",
    # Its workers leave its session: only it can end them.
    orphaned=signal.SIGTERM,
)
