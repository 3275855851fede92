"""A profile's entries as servers: what each runs, from where, and how its health is known."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enginix.backends.openai.server import OpenAIBackend
from enginix.backends.triton_probe import TritonProbe
from enginix.catalog.load import find_model
from enginix.checkpoint.locate import find_checkpoint
from enginix.cli import environment
from enginix.cli.find_engine import find_engine
from enginix.cli.reexec import own_command
from enginix.errors import (
    BackendError,
    ModelUnknown,
    NotACheckpoint,
    NotAnEngine,
    ProcessError,
    RuntimeMissing,
)
from enginix.manifest import Chat, require_within
from enginix.owned import hold
from enginix.runtimes.find import find_recipe, find_server, runtime_root
from enginix.serve import commands
from enginix.serve.commands import LOOPBACK, Command
from enginix.serve.liveness import Seen
from enginix.serve.profile import ENGINES, ModelEntry, Profile
from enginix.serve.restart import Probe, RestartingServer
from enginix.serve.scheduler import ManagedModel
from enginix.serve.server_process import MARK, ServerSpec
from enginix.serve.traffic import Traffic

RUNTIME = "triton-cpu"
PROBE_SECONDS = 2.0

# Engine -> what its server gets when this process dies: these end workers that leave their session.
ORPHANED = {"trtllm": signal.SIGTERM, "vllm": signal.SIGTERM}

# Engine -> its server's program, and the arguments it serves with.
PROGRAMS = {"trtllm": ("trtllm-serve", []), "vllm": ("vllm", ["serve"])}


@dataclass(frozen=True, slots=True)
class Server:
    """One model's server before it runs."""

    entry: ModelEntry
    command: Command
    log: Path
    directory: Path | None
    """The engine; None where the server reads a checkpoint itself."""
    upstream: str
    """What the server itself calls the model."""


def engine_directory(name: str) -> Path:
    """Where a model's engine is, or will be once it is built."""
    try:
        return find_engine(name)
    except NotAnEngine:
        return environment.cache_home() / "engines" / name


def servers_of(profile: Profile) -> list[Server]:
    return [server_of(profile, entry) for entry in profile.models]


def gateway_of(profile: Profile, servers: Sequence[Server]) -> Command:
    models = [gateway_row(server) for server in servers]
    file = run_directory(profile) / "gateway.json"
    return commands.gateway_command(
        own_command(), profile.gateway, file, {"models": models}, control_path(profile)
    )


def gateway_row(server: Server) -> dict[str, Any]:
    entry = server.entry
    return commands.gateway_model(
        entry, directory=server.directory, upstream=server.upstream, chat=_chat(entry)
    )


def _chat(entry: ModelEntry) -> Chat:
    """The catalogue's word on what the model writes; nothing for one that is not in it."""
    try:
        return find_model(entry.model).chat
    except ModelUnknown:
        return Chat()


def run_directory(profile: Profile) -> Path:
    """What a running profile needs to be written down."""
    return environment.cache_home() / "run" / f"{profile.name}-{profile.gateway.port}"


def control_path(profile: Profile) -> Path:
    return run_directory(profile) / "control"


def log_directory(profile: Profile) -> Path:
    return environment.cache_home() / "logs" / profile.name


def require_program(entry: ModelEntry) -> None:
    """Raise RuntimeMissing, saying what to install, where the server's program is not here."""
    if entry.engine in PROGRAMS:
        _installed(entry)


def require_engine(entry: ModelEntry) -> None:
    """Raise NotAnEngine, saying how to build it, where the server needs one that is not here."""
    if entry.engine in ("triton", "llamacpp") and not entry.path:
        find_engine(entry.model)


@contextmanager
def written_files(directory: Path, commands: Sequence[Command]) -> Iterator[None]:
    """What the commands read is there, in `directory`, until the block ends."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    lock = directory.with_name(f"{directory.name}.lock")
    descriptor = hold(lock, os.O_CREAT)
    if descriptor is None:
        raise ProcessError(
            f"another `enginix up` works in {directory}; end it, or choose another --port"
        )
    try:
        # One that was killed has left it.
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        for command in commands:
            write_files(command)
        yield
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def write_files(command: Command) -> None:
    for path, text in command.files.items():
        path.write_text(text, encoding="utf-8")


def resident_of(server: Server, traffic: Traffic) -> ManagedModel:
    """Call it in the event loop that its keeper is to run in."""
    return ManagedModel(server.entry, keeper_of(server, traffic), gateway_row(server))


def keeper_of(server: Server, traffic: Traffic) -> RestartingServer:
    """Call it in the event loop that the keeper is to run in."""
    prober = _prober(server)
    name = server.entry.name

    async def seen() -> Seen:
        return await traffic.seen(name)

    spec = ServerSpec(
        name,
        server.command.argv,
        server.log,
        lambda: answers(prober.probe),
        deadline=server.entry.ready_seconds,
        env=_environment(server),
        ports=list(server.entry.ports.values()),
        orphaned=ORPHANED.get(server.entry.engine, signal.SIGKILL),
    )
    text = prober.probe_text if isinstance(prober, TritonProbe) else None
    return RestartingServer(spec, probe=prober.probe, rare_probe=text, traffic=seen)


async def answers(probe: Probe) -> bool:
    try:
        await probe()
    except BackendError:
        return False
    return True


def _environment(server: Server) -> dict[str, str]:
    entry = server.entry
    fetches = entry.engine in PROGRAMS and not Path(_checkpoint(entry)).is_dir()
    ours = environment.for_server([*entry.secrets, *(environment.HUB_SECRETS if fetches else ())])
    return with_mark({**ours, **server.command.env})


def with_mark(env: Mapping[str, str]) -> dict[str, str]:
    """By which all that a server has started is found, when it has ended."""
    return {**env, MARK: secrets.token_hex(8)}


def server_of(profile: Profile, entry: ModelEntry) -> Server:
    log = log_directory(profile) / f"{entry.engine}-{entry.name}.log"
    match entry.engine:
        case "triton":
            engine = _engine(entry)
            command = commands.triton_command(own_command(), entry, engine)
            return Server(entry, command, log, engine, entry.name)
        case "llamacpp":
            command = commands.llama_server_command(_llama_server(), entry, _gguf(entry))
            return Server(entry, command, log, None, entry.name)
        case "trtllm":
            model = _checkpoint(entry)
            yaml = run_directory(profile) / f"{entry.name}.yaml"
            command = commands.trtllm_command(_program(entry), entry, model, yaml)
            # It calls a directory by its last part, and everything else as it was called.
            upstream = Path(model).name if Path(model).is_dir() else model
            return Server(entry, command, log, None, upstream)
    command = commands.vllm_command(_program(entry), entry, _checkpoint(entry))
    return Server(entry, command, log, None, entry.name)


def _prober(server: Server) -> TritonProbe | OpenAIBackend:
    entry = server.entry
    url = f"http://{LOOPBACK}:{entry.http_port}"
    if entry.engine == "triton":
        return TritonProbe(url, seconds=PROBE_SECONDS)
    name = f"{ENGINES[entry.engine]} at {url}"
    return OpenAIBackend(name, url, server.upstream, probe_seconds=PROBE_SECONDS)


def _llama_server() -> list[str]:
    root = environment.runtime_override(RUNTIME) or runtime_root(
        find_recipe(RUNTIME), environment.cache_home()
    )
    return [str(root / "bin" / "python"), commands.LLAMA_SERVER]


def _engine(entry: ModelEntry) -> Path:
    return Path(entry.path) if entry.path else engine_directory(entry.model)


def _gguf(entry: ModelEntry) -> Path:
    engine = _engine(entry)
    if engine.suffix == ".gguf":
        return engine
    require_within(engine)
    return engine / "model.gguf"


def _checkpoint(entry: ModelEntry) -> str:
    """Its directory where it is on this machine; else the hub's name, which servers can fetch."""
    if entry.path:
        return entry.path
    spec = find_model(entry.model)
    try:
        return str(find_checkpoint(spec, environment.cache_home()))
    except NotACheckpoint:
        return spec.source.repo or entry.model


def _program(entry: ModelEntry) -> list[str]:
    name, arguments = PROGRAMS[entry.engine]
    try:
        return [str(_installed(entry)), *arguments]
    except RuntimeMissing:
        # For --dry-run: what would be run where it is installed.
        return [name, *arguments]


def _installed(entry: ModelEntry) -> Path:
    override = environment.runtime_override(entry.engine)
    return find_server(entry.engine, environment.cache_home(), override, entry.environment)
