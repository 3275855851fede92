"""NVIDIA Triton, which serves engines that enginix has built."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from enginix.backends.triton_probe import TritonProbe
from enginix.runtimes.runtime import TRITON_CPU
from enginix.runtimes.triton_cpu import require_shared_memory
from enginix.serve.environment import Environment
from enginix.serve.model_entry import LOOPBACK, ModelEntry
from enginix.serve.servers.program import (
    PROBE_SECONDS,
    Command,
    Probes,
    Reads,
    ServerProgram,
    flags,
    visible_gpus,
)

INSTEAD = 'serve the checkpoint with engine = "vllm", or a GGUF with engine = "llamacpp"'


def _command(program: Sequence[str], entry: ModelEntry, engine: str, _settings: Path) -> Command:
    return Command(
        [
            *program,
            engine,
            f"--http-port={entry.http_port}",
            f"--grpc-port={entry.grpc_port}",
            f"--metrics-port={entry.metrics_port}",
            f"--start-timeout={entry.ready_seconds:g}",
            *flags(entry.options),
        ],
        visible_gpus(entry),
    )


def _own_program(environment: Environment) -> list[str]:
    return [*environment.enginix, "triton"]


def _address(entry: ModelEntry, engine: str) -> dict[str, str]:
    return {"directory": engine, "address": f"{LOOPBACK}:{entry.grpc_port}"}


def _probes(_server: ServerProgram, entry: ModelEntry, _engine: str) -> Probes:
    probe = TritonProbe(f"http://{LOOPBACK}:{entry.http_port}", seconds=PROBE_SECONDS)
    return Probes(probe.probe, probe.probe_text)


TRITON = ServerProgram(
    name="triton",
    title="Triton",
    reads=Reads.ENGINE,
    engine_kinds=("tensorrt-llm", "gguf"),
    command=_command,
    recipes=(TRITON_CPU,),
    own_program=_own_program,
    require_machine=require_shared_memory,
    ports=("http_port", "grpc_port", "metrics_port"),
    address=_address,
    reached_by="address",
    probes=_probes,
    metrics_path="/metrics",
    metrics_port="metrics_port",
    path="v2",
    lacks={
        "speculative": "a TensorRT engine drafts only if it was built for one draft, which "
        "enginix does not do, and Triton's llama.cpp decodes one token at a time; " + INSTEAD,
        "adapters": "TensorRT-LLM has no LoRA for FP4 weights, enginix builds no engine with "
        "inputs for it, and Triton's llama.cpp has one set of weights for all requests; " + INSTEAD,
    },
)
