"""tensorrt-edgellm-serve, TensorRT Edge-LLM's server, for engines that enginix has built.

A program of ours, in its environment, starts it: that first compares the engine with this machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from enginix.backends.openai.server import OpenAIBackend
from enginix.errors import EngineError, UsageError
from enginix.manifest import read_manifest
from enginix.runtimes import edge_llm_program
from enginix.runtimes.runtime import Recipe
from enginix.serve.model_entry import LOOPBACK, ModelEntry
from enginix.serve.servers.program import (
    PROBE_SECONDS,
    Command,
    Probes,
    Reads,
    ServerProgram,
    flags,
    openai_address,
    visible_gpus,
)

NAME = "edge-llm"
# The engine's own, and what it can do with one engine built for it.
FIXED = frozenset({"max_batch_size", "max_input_len", "max_kv_cache_capacity", "cache_dir"})
DRAFTS = ("speculative", "draft_", "verify_tree", "max_verify", "max_draft")


def _command(program: Sequence[str], entry: ModelEntry, engine: str, settings: Path) -> Command:
    for name in entry.options:
        if name in FIXED:
            raise UsageError(f"{entry.name}: options.{name} is built into its engine; leave it out")
        if name.startswith(DRAFTS):
            raise UsageError(
                f"{entry.name}: options.{name}: engines of kind {NAME} are built without a draft "
                "model, and no server of it decodes speculatively here; leave it out"
            )
    return Command(
        [
            str(Path(program[0]).with_name("python")),
            edge_llm_program.__file__,
            "serve",
            engine,
            f"--program={program[0]}",
            f"--cache={settings.with_suffix('.cache')}",
            # What it does not know is the server's, whose own default is every interface.
            f"--host={LOOPBACK}",
            f"--port={entry.http_port}",
            f"--served-model-name={entry.name}",
            # Otherwise it refuses tools; and it separates reasoning only where a request asks.
            "--enable-auto-tool-choice",
            "--reasoning-parser=none",
            *flags(entry.options),
        ],
        visible_gpus(entry),
    )


def _address(entry: ModelEntry, engine: str) -> dict[str, str]:
    """Also the format of the reasoning in its text, as the manifest knows it."""
    address = openai_address(entry, engine)
    with suppress(EngineError):
        reasoning = read_manifest(Path(engine)).chat.reasoning
        if reasoning and "reasoning_parser" not in entry.options:
            address["reasoning"] = reasoning
    return address


def _probes(server: ServerProgram, entry: ModelEntry, _engine: str) -> Probes:
    """By tokens: its /health says "healthy" whatever it does."""
    url = f"http://{LOOPBACK}:{entry.http_port}"
    name = f"{server.title} at {url}"
    backend = OpenAIBackend(name, url, entry.name, only_chats=True, probe_seconds=PROBE_SECONDS)
    return Probes(backend.probe)


EDGE_LLM = ServerProgram(
    name=NAME,
    title="TensorRT Edge-LLM",
    reads=Reads.ENGINE,
    engine_kinds=(NAME,),
    command=_command,
    recipes=(
        Recipe(
            NAME,
            ("tensorrt-edgellm[server]==0.11.0",),
            pythons=("3.10", "3.11", "3.12"),
            needs="Linux on x86-64 with glibc 2.35 or on aarch64 with glibc 2.39",
            program="tensorrt-edgellm-serve",
            separately="TensorRT is not part of it. Its wheel is on NVIDIA's package index; with "
            "that in pip's settings: enginix setup --engine edge-llm --force --requirement "
            "tensorrt==10.16.0.72 (DGX Spark: 10.16.1.11); `enginix doctor` says which fits",
        ),
    ),
    ready_seconds=600.0,
    parsers={"reasoning": "reasoning_parser"},
    address=_address,
    probes=_probes,
    lacks={
        "speculative": "its draft is built into an engine, which enginix does not do, and excludes "
        "in-flight batching; leave it out, or use trtllm, vllm or llamacpp",
        "adapters": "its server loads no LoRA; leave them out, or use vllm or llamacpp",
    },
)
