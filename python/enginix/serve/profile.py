"""A profile: the models that run together, and the gateway in front of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from enginix.catalog.load import load_catalog
from enginix.errors import UsageError, did_you_mean
from enginix.records import decode, read_toml
from enginix.serve.adapters import check_adapters
from enginix.serve.drafts import check_drafting
from enginix.serve.model_entry import ModelEntry, wrong_name
from enginix.serve.servers import SERVERS, ports_of

DIRECTORY = Path(__file__).parent / "profiles"


@dataclass(frozen=True, slots=True)
class GatewayEntry:
    port: int = 9000
    host: str = "127.0.0.1"
    workers: int = 1
    """Processes that share the port."""
    allowed_hosts: list[str] = field(default_factory=list)
    """Host names besides localhost that requests may use."""
    cors_origins: list[str] = field(default_factory=list)
    """Origins whose web pages may send requests."""
    allow_image_urls: bool = False
    """Whether requests may make servers fetch images by URL."""
    api_keys: str = ""
    """A file of the keys it accepts, one per line; a .toml file if they have names and limits."""
    transport: str = ""
    # None: the default of the gateway's settings.
    max_running: int | None = None
    max_waiting: int | None = None
    max_tokens: int | None = None
    max_body_mb: float | None = None
    first_token_seconds: float | None = None
    next_token_seconds: float | None = None
    stalled_seconds: float | None = None
    shutdown_delay_seconds: float | None = None
    """How long it still accepts requests when it is stopped, for load balancers to notice."""
    drain_seconds: float | None = None
    """How long running answers may take to finish then."""
    access_log: bool = True
    log_prompts: bool = False
    otlp_traces_endpoint: str = ""
    """Where OpenTelemetry's traces of requests are sent; empty for none."""
    otlp_traces_sample_ratio: float | None = None
    otlp_traces_prompts: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    name: str
    title: str
    models: list[ModelEntry]
    gateway: GatewayEntry = field(default_factory=GatewayEntry)
    hello: str = "Hello!"
    """The question that `enginix up` asks once everything runs; empty for none."""
    model_roots: list[str] = field(default_factory=list)
    """Directories from which clients may load models by path."""
    min_residency_seconds: float = 30.0
    """How long a loaded model stays before it makes room for another."""
    drain_seconds: float = 30.0
    """How long running requests get to finish when their model makes room for another."""


def profile_names(directory: Path = DIRECTORY) -> list[str]:
    return sorted(path.stem for path in directory.glob("*.toml"))


def load_profile(name: str, directory: Path = DIRECTORY) -> Profile:
    path = directory / f"{name}.toml"
    # A name, not a path: `--profile ../x` must not read just any file.
    if name not in profile_names(directory):
        known = profile_names(directory)
        hints = [f"no profile named {name!r}; there is {', '.join(known)}"]
        if name in load_catalog():
            hints.append(f"to serve that model: enginix up --model {name}")
        elif near := did_you_mean(name, known):
            hints.append(near)
        raise UsageError("; ".join(hints))
    data = read_toml(path, UsageError)
    models = data.pop("model", [])
    table = {**data, "name": name, "models": models}
    profile = decode(Profile, table, path.name, UsageError)
    if not profile.models:
        raise UsageError(f"{path.name}: it has no [[model]]; expected at least one")
    check(profile, path.name)
    return profile


def check(profile: Profile, where: str) -> None:
    """Refuse models that cannot run together."""
    for entry in profile.models:
        if why := wrong_name(entry.name):
            raise UsageError(f"{where}: {why}")
        if entry.engine not in SERVERS:
            raise UsageError(
                f"{where}: {entry.name}: engine: expected one of {', '.join(SERVERS)}, "
                f"got {entry.engine!r}"
            )
        if entry.task not in (tasks := SERVERS[entry.engine].tasks):
            raise UsageError(
                f"{where}: {entry.name}: task: {SERVERS[entry.engine].title} can "
                f"{', '.join(tasks)}, got {entry.task!r}"
            )
        if not 0 <= entry.memory <= 1:
            raise UsageError(
                f"{where}: {entry.name}: memory is {entry.memory:g}; expected a share from 0 to 1"
            )
        check_drafting(entry, f"{where}: {entry.name}", entry.speculative)
        check_adapters(entry, f"{where}: {entry.name}")
        _check_replicas(entry, f"{where}: {entry.name}")
    _check_names(profile, where)
    _check_ports(profile, where)
    _check_memory(profile, where)


def memory_by_gpu(models: Sequence[ModelEntry]) -> dict[str | None, dict[str, float]]:
    """GPU -> model -> share of its memory; a model that names no GPU sees them all, as None."""
    shares: dict[str | None, dict[str, float]] = {}
    named = {gpu for entry in models for gpu in entry.gpus}
    everywhere: list[str | None] = [None, *sorted(named)]
    for entry in models:
        for gpu in entry.gpus or everywhere:
            if entry.memory and entry.replicas_here:
                shares.setdefault(gpu, {})[entry.name] = entry.memory
    return shares


def _check_replicas(entry: ModelEntry, where: str) -> None:
    count = entry.replicas_here
    if count < 0 or not (count or entry.endpoints):
        raise UsageError(
            f"{where}: replicas is {count} and endpoints is empty; expected at least one server, "
            'as in replicas = 2 or endpoints = ["HOST:PORT"]'
        )
    endpoints = [_endpoint(entry, text, where) for text in entry.endpoints]
    for address, times in Counter(endpoints).items():
        if times > 1:
            raise UsageError(f"{where}: endpoints: {address} is there twice; name each server once")
    if count and len(entry.gpus) % count:
        raise UsageError(
            f"{where}: replicas is {count} and gpus names {len(entry.gpus)} "
            f"({', '.join(entry.gpus)}); expected as many for each replica: {count}, {2 * count} "
            "or more in all"
        )
    if (entry.on_demand or entry.ttl_seconds) and (entry.endpoints or count > 1):
        raise UsageError(
            f"{where}: on_demand and ttl_seconds are for a model with one server, which runs here; "
            "leave them out, or replicas and endpoints"
        )


def _endpoint(entry: ModelEntry, text: str, where: str) -> str:
    try:
        return SERVERS[entry.engine].endpoint(text)
    except UsageError as error:
        raise UsageError(f"{where}: endpoints: {error}") from None


def _check_names(profile: Profile, where: str) -> None:
    names = Counter(name for entry in profile.models for name in (entry.name, *entry.adapters))
    # Two engines may share a name: a request can choose one by its engine.
    words = Counter(
        (word, entry.engine)
        for entry in profile.models
        for word in {entry.name, *entry.aliases, *entry.adapters}
    )
    for name, count in [*names.items(), *((word, count) for (word, _), count in words.items())]:
        if count > 1:
            raise UsageError(f"{where}: two models have one name, {name!r}; give each its own")


def _check_ports(profile: Profile, where: str) -> None:
    holders: dict[int, str] = {profile.gateway.port: "the gateway"}
    for entry in profile.models:
        for port in ports_of(entry).values():
            if port in holders and port:
                raise UsageError(
                    f"{where}: port {port} is used by {holders[port]} and by {entry.name}; "
                    "give each its own"
                )
            holders[port] = entry.name


def _check_memory(profile: Profile, where: str) -> None:
    staying = [entry for entry in profile.models if not entry.on_demand]
    on_demand = [entry for entry in profile.models if entry.on_demand]
    # On-demand models only have to fit one at a time.
    for models in [staying, *([*staying, entry] for entry in on_demand)]:
        if excess := too_much(models):
            raise UsageError(
                f"{where}: {excess}; expected at most 1, lower one with --set NAME.memory=SHARE"
            )


def too_much(models: Sequence[ModelEntry]) -> str | None:
    """The sum of the models' shares of a GPU, if it is more than the GPU has."""
    for gpu, shares in memory_by_gpu(models).items():
        total = sum(shares.values())
        # Shares are decimal fractions and their sum is binary: 0.3 + 0.7 must pass.
        if total > 1.0 + 1e-9:
            parts = " + ".join(f"{share:g} ({name})" for name, share in shares.items())
            which = "each GPU" if gpu is None else f"GPU {gpu}"
            return f"{parts} = {total:g} of {which}'s memory"
    return None
