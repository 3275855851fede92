"""Command lines of a profile's servers, as pure functions: `enginix up --dry-run` prints them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enginix.manifest import Chat
from enginix.serve.profile import GatewayEntry, ModelEntry, Option

LOOPBACK = "127.0.0.1"
LLAMA_SERVER = str(Path(__file__).parent / "llama_server.py")


@dataclass(frozen=True, slots=True)
class Command:
    """What is run, what it finds in its environment beside ours, and in which files."""

    argv: list[str]
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[Path, str] = field(default_factory=dict)


def triton_command(enginix: Sequence[str], entry: ModelEntry, engine: Path) -> Command:
    return Command(
        [
            *enginix,
            "triton",
            str(engine),
            f"--http-port={entry.http_port}",
            f"--grpc-port={entry.grpc_port}",
            f"--metrics-port={entry.metrics_port}",
            f"--start-timeout={entry.ready_seconds:g}",
            *_options(entry.options),
        ],
        visible_gpus(entry),
    )


def trtllm_command(program: Sequence[str], entry: ModelEntry, model: str, yaml: Path) -> Command:
    """`model`: a checkpoint's directory or a hub repository. It serves under that one's name."""
    settings = trtllm_settings(entry)
    return Command(
        [
            *program,
            model,
            f"--host={LOOPBACK}",
            f"--port={entry.http_port}",
            *(["--backend=_autodeploy"] if entry.autodeploy else []),
            *([f"--max_seq_len={entry.max_model_len}"] if entry.max_model_len else []),
            f"--extra_llm_api_options={yaml}",
            *_options(entry.options, dash="_"),
        ],
        visible_gpus(entry),
        # JSON is YAML, and needs no writer of our own.
        {yaml: json.dumps(settings, indent=2) + "\n"},
    )


def trtllm_settings(entry: ModelEntry) -> dict[str, Any]:
    """What goes into --extra_llm_api_options: it overrides the command line, so all is there."""
    settings: dict[str, Any] = dict(entry.autodeploy)
    if entry.dtype:
        settings["dtype"] = entry.dtype
    if entry.max_model_len and "max_seq_len" in settings:
        settings["max_seq_len"] = entry.max_model_len
    if entry.memory:
        cache = dict(settings.get("kv_cache_config", {}))
        cache.setdefault("free_gpu_memory_fraction", entry.memory)
        settings["kv_cache_config"] = cache
    return settings


def vllm_command(program: Sequence[str], entry: ModelEntry, model: str) -> Command:
    return Command(
        [
            *program,
            model,
            f"--host={LOOPBACK}",
            f"--port={entry.http_port}",
            f"--served-model-name={entry.name}",
            *([f"--gpu-memory-utilization={entry.memory:g}"] if entry.memory else []),
            *([f"--dtype={entry.dtype}"] if entry.dtype else []),
            # An option that is given twice counts as it was given last.
            *_options(entry.options),
            *([f"--max-model-len={entry.max_model_len}"] if entry.max_model_len else []),
        ],
        visible_gpus(entry),
    )


def llama_server_command(program: Sequence[str], entry: ModelEntry, model: Path) -> Command:
    return Command(
        [
            *program,
            f"--model={model}",
            f"--alias={entry.name}",
            f"--host={LOOPBACK}",
            f"--port={entry.http_port}",
            *_options(entry.options),
            *([f"--context={entry.max_model_len}"] if entry.max_model_len else []),
        ],
        # Threads that spin while they wait take the cores from everything else on the machine.
        {**visible_gpus(entry), "OMP_WAIT_POLICY": "passive"},
    )


def gateway_command(
    enginix: Sequence[str],
    gateway: GatewayEntry,
    file: Path,
    content: Mapping[str, Any],
    supervisor: Path,
) -> Command:
    return Command(
        [
            *enginix,
            "openai",
            f"--models={file}",
            f"--host={gateway.host}",
            f"--port={gateway.port}",
            f"--supervisor={supervisor}",
            *([f"--workers={gateway.workers}"] if gateway.workers != 1 else []),
            *(f"--allowed-host={name}" for name in gateway.allowed_hosts),
            *(f"--cors-origin={origin}" for origin in gateway.cors_origins),
            *(["--allow-image-urls"] if gateway.allow_image_urls else []),
        ],
        files={file: json.dumps(content, indent=2) + "\n"},
    )


def gateway_model(
    entry: ModelEntry, *, directory: Path | None, upstream: str, chat: Chat
) -> dict[str, Any]:
    """What the gateway is told of a model: where it is served, and how it may be called.

    `chat`: the formats the model itself writes.
    """
    common: dict[str, Any] = {
        "name": entry.name,
        "engine": entry.engine,
        "aliases": entry.aliases,
        "contains": entry.contains,
    }
    if entry.engine == "triton":
        return {**common, "directory": str(directory), "address": f"{LOOPBACK}:{entry.grpc_port}"}
    url = f"http://{LOOPBACK}:{entry.http_port}"
    return {**common, "url": url, "upstream": upstream, **left_in_text(entry, chat)}


def left_in_text(entry: ModelEntry, chat: Chat) -> dict[str, Any]:
    """The formats that a server leaves in its texts, because nobody told it to read them."""
    reasoning, tools = entry.reasoning, entry.tools
    if entry.engine in ("trtllm", "vllm") and "reasoning_parser" not in entry.options:
        reasoning = reasoning or chat.reasoning or ""
    # vLLM without a parser takes no tools at all.
    if entry.engine == "trtllm" and "tool_parser" not in entry.options:
        tools = tools or chat.tools or ""
    found: dict[str, Any] = {}
    if reasoning:
        found |= {"reasoning": reasoning, "starts_inside": entry.starts_inside}
    return found | ({"tools": tools} if tools else {})


def visible_gpus(entry: ModelEntry) -> dict[str, str]:
    if not entry.gpus:
        return {}
    # PCI order, so that the numbers are those nvidia-smi shows.
    return {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": ",".join(entry.gpus),
    }


def _options(options: Mapping[str, Option], dash: str = "-") -> list[str]:
    words = []
    for name, value in options.items():
        flag = "--" + name.replace("_", dash)
        if value is True:
            words.append(flag)
        elif value is not False:
            words.append(f"{flag}={value}")
    return words
