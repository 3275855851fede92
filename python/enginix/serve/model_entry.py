"""One model of a profile, and how to run its server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from enginix.speculative import Speculative

# Where the servers of a profile listen; only the gateway may have another address.
LOOPBACK = "127.0.0.1"

Option = str | int | float | bool


# Of a file's name, which has a prefix, a number and a suffix as well.
LONGEST_NAME = 200


def file_name(name: str) -> str:
    """What a model's files are called, which are in one directory."""
    return name.replace("%", "%25").replace("/", "%2F")


def wrong_name(name: str) -> str | None:
    """Why a model cannot be called so; None if it can."""
    if not name.strip() or not name.isprintable() or "#" in name:
        return f"{name!r} is no model's name; expected one line of text without a #"
    if (length := len(file_name(name).encode())) > LONGEST_NAME:
        return f"{name[:40]}... is too long for a name: {length} bytes, at most {LONGEST_NAME}"
    return None


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model and the server it runs in. Servers start in the order of the profile."""

    name: str
    """The name that clients request."""
    engine: str = "triton"
    task: str = "generate"
    """What it does: generate text, embed texts, or rerank documents."""
    source: str = ""
    """Its name in the catalogue, if that differs."""
    aliases: list[str] = field(default_factory=list)
    contains: list[str] = field(default_factory=list)
    """An unknown name that contains one of these means this model."""
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    gpus: list[str] = field(default_factory=list)
    """The GPUs it may use, by number or UUID, MIG devices by UUID; empty: all."""
    memory: float = 0.0
    """The share of memory it takes on each of its GPUs."""
    ready_seconds: float = 120.0
    options: dict[str, Option] = field(default_factory=dict)
    """The server's own options, with underscores; true for one without a value."""
    autodeploy: dict[str, Any] = field(default_factory=dict)
    """TensorRT-LLM's AutoDeploy settings; with any, that backend is used."""
    environment: str = ""
    """The name of its server's environment, if `enginix setup --env` gave it one."""
    secrets: list[str] = field(default_factory=list)
    """Environment variables that look like secrets but that its server needs."""
    path: str = ""
    """The engine's or checkpoint's directory, if it is not the catalogue's."""
    dtype: str = ""
    """The type for weights that are not quantized; empty: the server's own choice."""
    max_model_len: int = 0
    """The limit of prompt and answer together, in tokens; 0: the server's own choice."""
    reasoning: str = ""
    """The format of reasoning that the server leaves in the text, for our parser."""
    tools: str = ""
    """Likewise for tool calls."""
    starts_inside: bool = False
    """The chat template opens the reasoning, so the model does not write the first tag."""
    speculative: Speculative | None = None
    """How its server drafts tokens ahead; without it as the catalogue says."""
    adapters: dict[str, str] = field(default_factory=dict)
    """LoRA adapters that its server has: what clients call them -> their file or directory."""
    on_demand: bool = False
    """Whether the first request starts it, and it ends to make room for others."""
    ttl_seconds: float = 0.0
    """Seconds without a request after which it is ended; 0: never."""
    replicas: int | None = None
    """How many servers of it run here; without a number one, or none if there are endpoints."""
    endpoints: list[str] = field(default_factory=list)
    """Addresses of its servers elsewhere, which are neither started nor ended here."""

    @property
    def model(self) -> str:
        """Its name in the catalogue."""
        return self.source or self.name

    @property
    def replicas_here(self) -> int:
        return int(not self.endpoints) if self.replicas is None else self.replicas

    @property
    def has_several(self) -> bool:
        """Whether it has several servers, here or elsewhere."""
        return self.replicas_here + len(self.endpoints) > 1
