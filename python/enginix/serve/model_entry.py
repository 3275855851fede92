"""One model of a profile, and how its server is to run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# Where the servers of a profile listen; only the gateway may have another address.
LOOPBACK = "127.0.0.1"

Option = str | int | float | bool


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model and the server it runs in. Servers start in the order of the profile."""

    name: str
    """What clients ask for."""
    engine: str = "triton"
    source: str = ""
    """The catalogue's name of it, where that is another."""
    aliases: list[str] = field(default_factory=list)
    contains: list[str] = field(default_factory=list)
    """A name nobody has that holds one of these words means this model."""
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    gpus: list[str] = field(default_factory=list)
    """The ones it may see, by number or UUID, MIG devices by UUID; empty: all."""
    memory: float = 0.0
    """The share of each of its GPUs' memory it takes."""
    ready_seconds: float = 120.0
    options: dict[str, Option] = field(default_factory=dict)
    """The server's own options, with underscores; true for one without a value."""
    autodeploy: dict[str, Any] = field(default_factory=dict)
    """TensorRT-LLM's AutoDeploy settings; with any, that backend is used."""
    environment: str = ""
    """The environment its server runs in, if `enginix setup --env` gave it a name of its own."""
    secrets: list[str] = field(default_factory=list)
    """Environment variables whose names end like a secret's, and which its server needs."""
    path: str = ""
    """The engine's or checkpoint's directory, where it is not the one of the catalogue's name."""
    dtype: str = ""
    """What weights that are not quantized are computed in; empty: the server's own choice."""
    max_model_len: int = 0
    """How many tokens prompt and answer may have together; 0: the server's own choice."""
    reasoning: str = ""
    """The format our parser takes reasoning out of, where the server leaves it in the text."""
    tools: str = ""
    """Likewise for tool calls."""
    starts_inside: bool = False
    """The chat template begins the reasoning, so that the model never writes its first tag."""
    on_demand: bool = False
    """Started by the first request for it, and ended to make room for another."""
    ttl_seconds: float = 0.0
    """Ended after so long without a request; 0: never."""

    @property
    def model(self) -> str:
        """Its name in the catalogue."""
        return self.source or self.name
