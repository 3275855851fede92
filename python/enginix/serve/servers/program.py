"""Everything that differs between server programs, as one value per program."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from enginix.backends.openai.server import OpenAIBackend
from enginix.errors import RuntimeMissing, UsageError
from enginix.runtimes.find import find_server
from enginix.runtimes.runtime import Recipe
from enginix.serve.environment import Environment
from enginix.serve.liveness import Probe
from enginix.serve.model_entry import LOOPBACK, ModelEntry, Option

PROBE_SECONDS = 2.0
ENDPOINT = re.compile(r"(https?://)?((?:[\w.-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5}))/?")


class Reads(Enum):
    """What a server loads; the value is the file that marks such a directory."""

    ENGINE = "manifest.json"
    GGUF = "model.gguf"
    CHECKPOINT = "config.json"


@dataclass(frozen=True, slots=True)
class Command:
    """What to run, the variables added to its environment, and the files it reads."""

    argv: list[str]
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[Path, str] = field(default_factory=dict)


class Probes(NamedTuple):
    """`token` returns once the server has produced one; BackendError says why it has not."""

    token: Probe
    text: Probe | None = None
    """Also exercises what the server has around its engine; runs rarely."""


def openai_address(entry: ModelEntry, _model: str) -> dict[str, str]:
    """The address of an OpenAI server that knows the model by our name."""
    return {"url": f"http://{LOOPBACK}:{entry.http_port}", "upstream": entry.name}


def openai_probes(server: ServerProgram, entry: ModelEntry, model: str) -> Probes:
    address = server.address(entry, model)
    url, upstream = address["url"], address["upstream"]
    name = f"{server.title} at {url}"
    backend = OpenAIBackend(name, url, upstream, task=entry.task, probe_seconds=PROBE_SECONDS)
    return Probes(backend.probe)


def nothing_required() -> None:
    """For a server that runs on any machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerProgram:
    """One program that serves models. `model` is what it loads: a path, or a name on the hub."""

    name: str
    """Its name in profiles, requests, models.json and logs."""
    title: str
    """Its name in messages for people."""
    aliases: tuple[str, ...] = ()
    """Its other names in models.json."""
    reads: Reads
    engine_kinds: tuple[str, ...] = ()
    """Kinds of manifest.json that it serves by default."""
    tasks: tuple[str, ...] = ("generate",)
    """What its models can do."""
    command: Callable[[Sequence[str], ModelEntry, str, Path], Command]
    """Makes it from the program, the entry, `model` and a path for a settings file."""
    recipes: tuple[Recipe, ...]
    """The environments that contain it, the preferred one first."""
    arguments: tuple[str, ...] = ()
    """Arguments that follow the recipe's program."""
    own_program: Callable[[Environment], list[str]] | None = None
    """For one that is not the recipe's program."""
    require_machine: Callable[[], None] = nothing_required
    """Raises EnginixError if this machine cannot run it."""
    ports: tuple[str, ...] = ("http_port",)
    """The entry's settings for the ports it listens on."""
    ready_seconds: float = 120.0
    """The default time to load."""
    memory: float = 0.0
    """The default share of a GPU's memory that it takes at its start."""
    slots: str = ""
    """Its option for the number of concurrent requests."""
    speculative: Mapping[str, str] = field(default_factory=dict)
    """A profile's method of speculative decoding -> the program's name for it."""
    adapters: bool = False
    """Whether it serves LoRA adapters beside their model."""
    chooses: Callable[[ModelEntry, str | None], dict[str, Any]] | None = None
    """The fields of a request that choose an adapter, or none; without it the name does."""
    lacks: Mapping[str, str] = field(default_factory=dict)
    """"speculative" or "adapters" -> why it has none, and what has."""
    ranks: str = ""
    """Its option for the number of GPUs; empty if it runs on one device only."""
    parsers: Mapping[str, str] = field(default_factory=dict)
    """"reasoning" or "tools" -> the option without which the server leaves them in the text."""
    address: Callable[[ModelEntry, str], dict[str, str]] = openai_address
    """Where the gateway reaches the model, as keys of its models file."""
    reached_by: str = "url"
    """The key of `address` that is an address."""
    probes: Callable[[ServerProgram, ModelEntry, str], Probes] = openai_probes
    metrics_path: str = ""
    """Of its page of Prometheus metrics, if that says more than the gateway knows."""
    metrics_of_drafts: bool = False
    """Whether it says more only of speculative decoding."""
    metrics_port: str = "http_port"
    """The entry's setting for the port of that page."""
    path: str = "v1"
    """The prefix of its HTTP routes."""
    orphaned: signal.Signals = signal.SIGKILL
    """The signal it gets when the supervisor dies."""

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.aliases, self.name)

    def endpoint(self, text: str) -> str:
        """The address of one elsewhere, as gateways are told it; UsageError if it is none."""
        takes_url = self.reached_by == "url"
        found = ENDPOINT.fullmatch(text)
        if not found or not 0 < int(found[3]) < 65536 or (found[1] and not takes_url):
            expected = (
                "HOST:PORT or http://HOST:PORT" if takes_url else "HOST:PORT of its gRPC port"
            )
            raise UsageError(f"{text!r} is no address of {self.title}; expected {expected}")
        return f"{found[1] or 'http://'}{found[2]}" if takes_url else found[2]

    def find(self, environment: Environment, entry: ModelEntry) -> list[str]:
        """The first words of its command line; RuntimeMissing says what to install."""
        if self.own_program:
            return self.own_program(environment)
        override = environment.runtime(self.name)
        program = find_server(
            self.name, self.recipes, environment.home, override, entry.environment
        )
        return [str(program), *self.arguments]

    def find_or_name(self, environment: Environment, entry: ModelEntry) -> list[str]:
        """Like `find`; if it is not installed, the command that an installation would run."""
        try:
            return self.find(environment, entry)
        except RuntimeMissing:
            return [self.recipes[0].program, *self.arguments]

    def metrics_url(self, entry: ModelEntry) -> str:
        """Where its metrics are, if it is the model's only server and runs here; else empty."""
        drafts = entry.speculative is not None and entry.speculative.is_on
        says_more = self.metrics_path and (drafts or not self.metrics_of_drafts)
        if not says_more or entry.has_several or not entry.replicas_here:
            return ""
        return f"http://{LOOPBACK}:{getattr(entry, self.metrics_port)}{self.metrics_path}"


def visible_gpus(entry: ModelEntry) -> dict[str, str]:
    if not entry.gpus:
        return {}
    # PCI order, so that numbers are those of nvidia-smi.
    return {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": ",".join(entry.gpus),
    }


def flags(options: Mapping[str, Option], dash: str = "-") -> list[str]:
    """A profile's options as arguments; `dash` stands for each underscore of a name."""
    arguments = []
    for name, value in options.items():
        flag = "--" + name.replace("_", dash)
        if value is True:
            arguments.append(flag)
        elif value is not False:
            arguments.append(f"{flag}={value}")
    return arguments
