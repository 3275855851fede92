"""The gateway in front of a profile's servers: what it is told of them, and its server."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from enginix.errors import BackendUnavailable, CheckpointDamaged
from enginix.hub_files import CONFIG_FILE, read_object
from enginix.manifest import Chat
from enginix.ports import local_url
from enginix.readiness import answers_ok
from enginix.serve.environment import Environment
from enginix.serve.model_entry import ModelEntry
from enginix.serve.profile import GatewayEntry, Profile
from enginix.serve.restart import RestartingServer
from enginix.serve.server_process import GRACE_SECONDS, ServerSpec, with_mark
from enginix.serve.servers import SERVERS
from enginix.serve.servers.program import Command
from enginix.serve.wedge import Policy

NAME = "gateway"
PROBE_SECONDS = 1.0
FLAGS = {
    "allowed_hosts": "--allowed-host",
    "cors_origins": "--cors-origin",
    "access_log": "--no-access-log",
    "shutdown_delay_seconds": "--shutdown-delay",
}
# In addition to the time for running answers.
STOP_SECONDS = 5.0
# The gateway's own default for --drain-seconds.
DRAIN_SECONDS = 30.0
# Its probe does no slow work, so it may be declared dead sooner. With several workers, one that
# hangs is replaced by the process that started them.
POLICY = Policy(look_every=0.5, probe_every=1.0, probe_again=0.5, hung=sys.maxsize)


def gateway_url(gateway: GatewayEntry) -> str:
    """Where this machine reaches it."""
    return local_url(gateway.host, gateway.port)


def flag_of(name: str) -> str:
    """The option of `enginix openai` for a field of GatewayEntry."""
    return FLAGS.get(name, f"--{name.replace('_', '-')}")


def _other_flags(gateway: GatewayEntry) -> Iterator[str]:
    """Those that are not as they would be without an option."""
    usual = GatewayEntry(gateway.port, gateway.host)
    values = {each.name: getattr(gateway, each.name) for each in fields(gateway)}
    return flags_for({k: v for k, v in values.items() if v != getattr(usual, k)})


def flags_for(values: Mapping[str, Any]) -> Iterator[str]:
    """The options that set these fields; a bool's is the one that changes it."""
    for name, value in values.items():
        if isinstance(value, bool):
            yield flag_of(name)
        else:
            for each in value if isinstance(value, list) else [value]:
                yield f"{flag_of(name)}={each}"


def gateway_command(
    enginix: Sequence[str],
    gateway: GatewayEntry,
    file: Path,
    rows: Sequence[dict[str, Any]],
    supervisor: Path,
) -> Command:
    """`rows` are its models, which it reads from `file`; `supervisor` is the control socket."""
    return Command(
        [
            *enginix,
            "openai",
            f"--models={file}",
            f"--host={gateway.host}",
            f"--port={gateway.port}",
            f"--supervisor={supervisor}",
            *_other_flags(gateway),
        ],
        files={file: json.dumps({"models": rows}, indent=2) + "\n"},
    )


def gateway_row(
    entry: ModelEntry, model: str, chat: Chat, addresses: Sequence[str] = ()
) -> dict[str, Any]:
    """What the gateway is told of a model: where it is served, and how it may be called.

    `model` is what its servers load; `chat` holds the formats that the model itself writes.
    `addresses` are all its servers', if it has not the one that the entry says.
    """
    program = SERVERS[entry.engine]
    return {
        "name": entry.name,
        "engine": entry.engine,
        **({"task": entry.task} if entry.task != "generate" else {}),
        "aliases": entry.aliases,
        "contains": entry.contains,
        "path": model,
        **program.address(entry, model),
        **({program.reached_by: ",".join(addresses)} if addresses else {}),
        **left_in_text(entry, chat),
        **({"images": True} if reads_images(model) else {}),
        **({"priority": True} if schedules_by_priority(entry) else {}),
        **({"metrics": page} if (page := program.metrics_url(entry)) else {}),
        **_adapters(entry),
    }


def _adapters(entry: ModelEntry) -> dict[str, Any]:
    """How requests choose between the model and its adapters, which clients see as models."""
    if not entry.adapters:
        return {}
    chooses = SERVERS[entry.engine].chooses
    rows = [
        {
            "name": name,
            "path": path,
            **({"fields": chooses(entry, name)} if chooses else {"upstream": name}),
        }
        for name, path in entry.adapters.items()
    ]
    return {**({"fields": chooses(entry, None)} if chooses else {}), "adapters": rows}


def left_in_text(entry: ModelEntry, chat: Chat) -> dict[str, Any]:
    """The formats that a server leaves in the text, because no option made it parse them."""
    formats = {"reasoning": entry.reasoning, "tools": entry.tools}
    own = {"reasoning": chat.reasoning, "tools": chat.tools}
    for part, option in SERVERS[entry.engine].parsers.items():
        if option not in entry.options:
            formats[part] = formats[part] or own[part] or ""
    found: dict[str, Any] = {}
    if formats["reasoning"]:
        found |= {"reasoning": formats["reasoning"], "starts_inside": entry.starts_inside}
    return found | ({"tools": formats["tools"]} if formats["tools"] else {})


def schedules_by_priority(entry: ModelEntry) -> bool:
    """vLLM refuses a request's priority unless it is started so."""
    by_priority = entry.options.get("scheduling_policy") == "priority"
    return by_priority and entry.engine.startswith("vllm")


def reads_images(model: str) -> bool:
    """Whether its checkpoint has a vision part; not known of one that is only a name at the hub."""
    try:
        return "vision_config" in (read_object(Path(model) / CONFIG_FILE) or {})
    except CheckpointDamaged:
        # Its server says what is wrong with it.
        return False


def gateway_server(
    profile: Profile, command: Command, environment: Environment
) -> RestartingServer:
    """Call it in the event loop that the server is to run in."""
    url = gateway_url(profile.gateway)
    is_ready = partial(answers_ok, f"{url}/livez")

    async def probe() -> None:
        if not await answers_ok(f"{url}/livez", PROBE_SECONDS):
            raise BackendUnavailable("its /livez does not answer")

    delay = profile.gateway.shutdown_delay_seconds or 0.0
    drain = profile.gateway.drain_seconds
    drain = DRAIN_SECONDS if drain is None else drain
    spec = ServerSpec(
        NAME,
        command.argv,
        environment.logs / "gateway.log",
        is_ready,
        env=with_mark({**environment.gateway_variables, **command.env}),
        grace=delay + max(GRACE_SECONDS, drain + STOP_SECONDS),
        host=profile.gateway.host,
        ports=[profile.gateway.port],
    )
    return RestartingServer(spec, probe=probe, policy=POLICY)
