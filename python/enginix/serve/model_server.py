"""The server of one entry of a profile, before it runs: its command, its model, its row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enginix.catalog.load import find_model
from enginix.errors import BackendError, ModelUnknown, NotACheckpoint, NotAnEngine
from enginix.manifest import Chat, require_within
from enginix.serve.environment import Environment
from enginix.serve.gateway import gateway_command, gateway_row
from enginix.serve.liveness import Probe, Seen
from enginix.serve.model_entry import ModelEntry
from enginix.serve.profile import Profile
from enginix.serve.restart import RestartingServer
from enginix.serve.run_directory import control_path, run_directory
from enginix.serve.scheduler import ManagedModel
from enginix.serve.server_process import ServerSpec, with_mark
from enginix.serve.servers import SERVERS, ports_of
from enginix.serve.servers.program import Command, Reads
from enginix.serve.traffic import Traffic


@dataclass(frozen=True, slots=True)
class ModelServer:
    entry: ModelEntry
    command: Command
    log: Path
    model: str
    """What it loads: a path, or a name on the hub."""

    @property
    def row(self) -> dict[str, Any]:
        """What gateways are told of it."""
        try:
            chat = find_model(self.entry.model).chat
        except ModelUnknown:
            chat = Chat()
        return gateway_row(self.entry, self.model, chat)


def model_servers(profile: Profile, environment: Environment) -> list[ModelServer]:
    return [model_server(profile, entry, environment) for entry in profile.models]


def model_server(profile: Profile, entry: ModelEntry, environment: Environment) -> ModelServer:
    program = SERVERS[entry.engine]
    model = _model(entry, environment)
    settings = run_directory(profile, environment.home) / f"{entry.name}.yaml"
    log = environment.logs / f"{entry.engine}-{entry.name}.log"
    command = program.command(program.find_or_name(environment, entry), entry, model, settings)
    return ModelServer(entry, command, log, model)


def commands_of(
    profile: Profile, servers: Sequence[ModelServer], environment: Environment
) -> list[Command]:
    """In the order in which they are run; the gateway's is the last."""
    file = run_directory(profile, environment.home) / "gateway.json"
    control = control_path(profile, environment.home)
    rows = [server.row for server in servers]
    gateway = gateway_command(environment.enginix, profile.gateway, file, rows, control)
    return [*(server.command for server in servers), gateway]


def engine_directory(name: str, environment: Environment) -> Path:
    """Where a model's engine is, or will be once it is built."""
    try:
        return environment.find_engine(name)
    except NotAnEngine:
        return environment.home / "engines" / name


def require_installed(entry: ModelEntry, environment: Environment) -> None:
    """RuntimeMissing or NotAnEngine says how to get the program or the engine it needs."""
    program = SERVERS[entry.engine]
    program.find(environment, entry)
    if program.reads is not Reads.CHECKPOINT and not entry.path:
        environment.find_engine(entry.model)


def managed_model(server: ModelServer, environment: Environment, traffic: Traffic) -> ManagedModel:
    """Call it in the event loop that the server is to run in."""
    entry = server.entry
    program = SERVERS[entry.engine]
    probes = program.probes(program, entry, server.model)
    fetches = program.reads is Reads.CHECKPOINT and not Path(server.model).is_dir()

    async def seen() -> Seen:
        return await traffic.seen(entry.name)

    spec = ServerSpec(
        entry.name,
        server.command.argv,
        server.log,
        lambda: _answers(probes.token),
        deadline=entry.ready_seconds,
        env=with_mark(
            {**environment.server_variables(entry.secrets, fetches), **server.command.env}
        ),
        ports=list(ports_of(entry).values()),
        orphaned=program.orphaned,
    )
    restarting = RestartingServer(spec, probe=probes.token, rare_probe=probes.text, traffic=seen)
    return ManagedModel(entry, restarting, server.row)


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


def _checkpoint(entry: ModelEntry, environment: Environment) -> str:
    """Its directory where it is on this machine; else the hub's name, which servers can fetch."""
    spec = find_model(entry.model)
    try:
        return str(environment.find_checkpoint(spec))
    except NotACheckpoint:
        return spec.source.repo or entry.model
