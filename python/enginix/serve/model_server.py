"""The server of one entry of a profile, before it runs: its command, its model, its row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from enginix.catalog.load import ModelSpec, find_model
from enginix.errors import (
    BackendError,
    EngineError,
    ModelUnknown,
    NotACheckpoint,
    NotAnEngine,
    UsageError,
)
from enginix.manifest import Chat, read_manifest, require_within
from enginix.serve.adapters import require_fitting
from enginix.serve.drafts import drafting_of, require_draft
from enginix.serve.environment import Environment
from enginix.serve.gateway import gateway_command, gateway_row
from enginix.serve.liveness import Probe, Seen
from enginix.serve.managed_model import ManagedModel
from enginix.serve.model_entry import ModelEntry, file_name
from enginix.serve.ports import with_free_ports
from enginix.serve.profile import Profile
from enginix.serve.replicas import Replica, ReplicaGroup
from enginix.serve.restart import RestartingServer
from enginix.serve.run_directory import control_path, run_directory
from enginix.serve.server_process import ServerSpec, with_mark
from enginix.serve.servers import SERVERS, ports_of
from enginix.serve.servers.program import Command, Reads
from enginix.serve.traffic import Traffic


@dataclass(frozen=True, slots=True)
class ReplicaServer:
    """One of a model's servers. Its entry is the model's, with its own ports and GPUs."""

    name: str
    """In logs: the model's, with a number from the second on."""
    entry: ModelEntry
    command: Command
    log: Path
    address: str
    """As gateways are told it."""


@dataclass(frozen=True, slots=True)
class ModelServer:
    entry: ModelEntry
    replicas: list[ReplicaServer]
    """Those that run here."""
    model: str
    """What they load: a path, or a name on the hub."""

    @property
    def endpoints(self) -> list[str]:
        return [SERVERS[self.entry.engine].endpoint(text) for text in self.entry.endpoints]

    @property
    def row(self) -> dict[str, Any]:
        """What gateways are told of it."""
        spec = _spec(self.entry)
        chat = spec.chat if spec else Chat()
        addresses = [*(one.address for one in self.replicas), *self.endpoints]
        return gateway_row(self.entry, self.model, chat, addresses)


def model_servers(profile: Profile, environment: Environment) -> list[ModelServer]:
    return [model_server(profile, entry, environment) for entry in profile.models]


def model_server(
    profile: Profile,
    entry: ModelEntry,
    environment: Environment,
    ports: Sequence[Sequence[int]] = (),
) -> ModelServer:
    """`ports`: those that its servers had before, as far as they keep them."""
    program = SERVERS[entry.engine]
    model = _model(entry, environment)
    replicas = []
    completed = _completed(entry, model, environment)
    for number, one in enumerate(replica_entries(completed, ports), start=1):
        # No model's name holds a #, so that no other model has these files.
        name = f"{entry.name}#{number}" if number > 1 else entry.name
        settings = run_directory(profile, environment.home) / f"{file_name(name)}.yaml"
        log = environment.logs / f"{entry.engine}-{file_name(name)}.log"
        command = program.command(program.find_or_name(environment, one), one, model, settings)
        address = program.address(one, model)[program.reached_by]
        replicas.append(ReplicaServer(name, one, command, log, address))
    return ModelServer(entry, replicas, model)


def replica_entries(entry: ModelEntry, ports: Sequence[Sequence[int]] = ()) -> list[ModelEntry]:
    """An entry for each of its servers here: its GPUs in order, free ports from the second on.

    `ports`: those that the first of them had before.
    """
    count = entry.replicas_here
    each = len(entry.gpus) // max(count, 1)
    alone = [
        replace(entry, gpus=entry.gpus[n * each : (n + 1) * each], replicas=None, endpoints=[])
        for n in range(count)
    ]
    names = [*ports_of(entry)]
    no_ports = [0] * len(names)
    others: list[dict[str, Any]] = [
        dict(zip(names, ports[n] if n < len(ports) else no_ports, strict=True))
        for n in range(1, count)
    ]
    return alone[:1] + with_free_ports(
        [replace(one, **own) for one, own in zip(alone[1:], others, strict=True)]
    )


def commands_of(
    profile: Profile, servers: Sequence[ModelServer], environment: Environment
) -> list[Command]:
    """In the order in which they are run; the gateway's is the last."""
    gateway = gateway_of(profile, [server.row for server in servers], environment)
    return [*(one.command for server in servers for one in server.replicas), gateway]


def gateway_of(
    profile: Profile, rows: Sequence[dict[str, Any]], environment: Environment
) -> Command:
    """The gateway's command; `rows` are its models."""
    file = run_directory(profile, environment.home) / "gateway.json"
    control = control_path(profile, environment.home)
    return gateway_command(environment.enginix, profile.gateway, file, rows, control)


def engine_directory(name: str, environment: Environment) -> Path:
    """Where a model's engine is, or will be once it is built."""
    try:
        return environment.find_engine(name)
    except NotAnEngine:
        return environment.home / "engines" / name


def gpus_needed(entry: ModelEntry, environment: Environment) -> int:
    """How many GPUs each of its servers uses; 0 on a CPU, or where there is no engine yet."""
    program = SERVERS[entry.engine]
    if program.reads is Reads.GGUF:
        return 0
    if program.reads is Reads.CHECKPOINT:
        ranks = entry.options.get(program.ranks)
        return ranks if isinstance(ranks, int) else 1
    try:
        manifest = read_manifest(Path(_model(entry, environment)))
    except EngineError:
        return 0
    return 0 if manifest.kind == "gguf" else manifest.parallelism.world_size


def require_installed(entry: ModelEntry, environment: Environment) -> None:
    """RuntimeMissing or NotAnEngine says how to get the program or the engine it needs."""
    program = SERVERS[entry.engine]
    if entry.replicas_here:
        program.find(environment, entry)
    if program.reads is not Reads.CHECKPOINT and not entry.path:
        environment.find_engine(entry.model)


def managed_model(server: ModelServer, environment: Environment, traffic: Traffic) -> ManagedModel:
    """Call it in the event loop that the servers are to run in."""
    replicas = [
        Replica(one.address, _restarting(server, one, environment, traffic))
        for one in server.replicas
    ]
    group = ReplicaGroup(server.entry.name, replicas, server.endpoints)
    return ManagedModel(server.entry, group, server.row)


def _restarting(
    server: ModelServer, replica: ReplicaServer, environment: Environment, traffic: Traffic
) -> RestartingServer:
    entry = replica.entry
    program = SERVERS[entry.engine]
    probes = program.probes(program, entry, server.model)
    draft = entry.speculative.model if entry.speculative else ""
    models = [server.model, *([draft] if draft else [])]
    fetches = program.reads is Reads.CHECKPOINT and not all(Path(each).is_dir() for each in models)

    async def seen() -> Seen:
        found = await traffic.seen(entry.name, replica.name, entry.adapters)
        # Tokens of one server say nothing about another.
        return found._replace(tokens=None) if server.entry.has_several else found

    spec = ServerSpec(
        replica.name,
        replica.command.argv,
        replica.log,
        lambda: _answers(probes.token),
        deadline=entry.ready_seconds,
        env=with_mark(
            {**environment.server_variables(entry.secrets, fetches), **replica.command.env}
        ),
        ports=list(ports_of(entry).values()),
        orphaned=program.orphaned,
    )
    return RestartingServer(spec, probe=probes.token, rare_probe=probes.text, traffic=seen)


async def _answers(probe: Probe) -> bool:
    try:
        await probe()
    except BackendError:
        return False
    return True


def _model(entry: ModelEntry, environment: Environment) -> str:
    reads = SERVERS[entry.engine].reads
    if reads is Reads.CHECKPOINT:
        return entry.path or _checkpoint(entry, environment)
    engine = Path(entry.path) if entry.path else engine_directory(entry.model, environment)
    if reads is Reads.ENGINE or engine.suffix == ".gguf":
        return str(engine)
    require_within(engine)
    return str(engine / reads.value)


def _completed(entry: ModelEntry, model: str, environment: Environment) -> ModelEntry:
    """With what drafts for it and its adapters as paths; UsageError if they are another model's."""
    spec = _spec(entry)
    drafts = drafting_of(entry, spec)
    if drafts and drafts.model:
        drafts = replace(drafts, model=_draft(entry, drafts.model, environment))
    adapters = {
        name: str(Path(path).expanduser().absolute()) for name, path in entry.adapters.items()
    }
    entry = replace(entry, speculative=drafts, adapters=adapters)
    # Without an engine there is nothing to compare with, and nothing to start.
    if not entry.replicas_here or not (
        Path(model).exists() or SERVERS[entry.engine].reads is Reads.CHECKPOINT
    ):
        return entry
    if drafts:
        require_draft(entry, drafts, model)
    # What a directory that the user names was made from is not known.
    require_fitting(entry, model, (spec.source.repo or "") if spec and not entry.path else "")
    return entry


def _draft(entry: ModelEntry, word: str, environment: Environment) -> str:
    """What drafts, as the entry's server is told of it: a path, or a name on the hub."""
    if word.startswith(("/", "~", ".")) or word.endswith(".gguf"):
        path = Path(word).expanduser().absolute()
        return _model(replace(entry, path=str(path)), environment)
    if SERVERS[entry.engine].reads is Reads.CHECKPOINT and "/" in word:
        return word
    try:
        return _model(replace(entry, path="", source=word), environment)
    except ModelUnknown as error:
        raise UsageError(f"{entry.name}: speculative: model: {error}; or name a path") from None


def _spec(entry: ModelEntry) -> ModelSpec | None:
    try:
        return find_model(entry.model)
    except ModelUnknown:
        return None


def _checkpoint(entry: ModelEntry, environment: Environment) -> str:
    """Its directory where it is on this machine; else the hub's name, which servers can fetch."""
    spec = find_model(entry.model)
    try:
        return str(environment.find_checkpoint(spec))
    except NotACheckpoint:
        return spec.source.repo or entry.model
