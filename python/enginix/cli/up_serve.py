"""A profile at work: its servers started and kept, the gateway in front, and the socket between."""

from __future__ import annotations

import sys
import time
from contextlib import AsyncExitStack
from functools import partial

from rich.console import Console

from enginix.cli import environment
from enginix.cli.smoke_test import try_hello
from enginix.cli.up_servers import (
    control_path,
    gateway_of,
    log_directory,
    resident_of,
    run_directory,
    servers_of,
    with_mark,
    written_files,
)
from enginix.cli.up_wishes import LoadRequests
from enginix.errors import BackendUnavailable, StartFailed
from enginix.readiness import answers_ok
from enginix.serve.commands import LOOPBACK, Command
from enginix.serve.control import control_socket
from enginix.serve.judge import Policy
from enginix.serve.profile import ENGINES, Profile
from enginix.serve.restart import RestartingServer
from enginix.serve.scheduler import ModelScheduler
from enginix.serve.server_process import ServerSpec, State
from enginix.serve.supervisor import supervised
from enginix.serve.traffic import Traffic

GATEWAY = "gateway"
GATEWAY_SECONDS = 1.0
# It does nothing that takes long, so it is given up sooner. One of several processes that hangs is
# replaced by the process that started them.
GATEWAY_POLICY = Policy(look_every=0.5, probe_every=1.0, probe_again=0.5, hung=sys.maxsize)

console = Console(highlight=False, soft_wrap=True)


async def serve_profile(profile: Profile) -> None:
    """Until it is cancelled; nothing is left running then."""
    began = time.monotonic()
    url = f"http://{_reachable(profile.gateway.host)}:{profile.gateway.port}"
    servers = servers_of(profile)
    gateway = gateway_of(profile, servers)
    engines = {server.entry.name: ENGINES[server.entry.engine] for server in servers}

    def report(keeper: RestartingServer, failure: StartFailed | None) -> None:
        what = f"{engines.get(keeper.name, '')} ".lstrip()
        if failure is None:
            tell(keeper.name, f"{what}ready after {time.monotonic() - began:.1f} s")
        elif keeper.name in optional:
            tell(keeper.name, f"{what}failed and is tried again: {failure}")

    # One broken model does not keep the others from serving, a broken gateway does.
    optional = frozenset(engines) if len(engines) > 1 else frozenset()
    traffic = Traffic(url)
    residents = [resident_of(server, traffic) for server in servers]
    residency = ModelScheduler(
        residents, rest=profile.min_residency_seconds, drain=profile.drain_seconds
    )
    keepers = [one.keeper for one in residents if not one.entry.on_demand]
    keepers.append(_gateway_keeper(profile, gateway, url))
    commands = [*(server.command for server in servers), gateway]
    requested_load = LoadRequests(profile, residency, traffic).resident
    async with AsyncExitStack() as stack:
        stack.push_async_callback(traffic.close)
        stack.enter_context(written_files(run_directory(profile), commands))
        stack.push_async_callback(residency.close)
        await stack.enter_async_context(
            control_socket(control_path(profile), residency, requested_load)
        )
        await stack.enter_async_context(supervised(keepers, report, optional))
        for one in residents:
            if profile.hello and one.keeper.child.state is State.LOADED:
                name = one.entry.name
                if why := await try_hello(console, url, name, profile.hello):
                    tell(name, f"has not answered the sample question yet: {why}")
        _tell_where(profile, url)
        await residency.expire()


def tell(subject: str, text: str) -> None:
    console.print(f"[bold]{subject:<8}[/] ", end="")
    console.print(text, markup=False)


def _gateway_keeper(profile: Profile, command: Command, url: str) -> RestartingServer:
    is_ready = partial(answers_ok, f"{url}/livez")

    async def probe() -> None:
        if not await answers_ok(f"{url}/livez", GATEWAY_SECONDS):
            raise BackendUnavailable("its /livez does not answer")

    log = log_directory(profile) / "gateway.log"
    spec = ServerSpec(
        GATEWAY,
        command.argv,
        log,
        is_ready,
        env=with_mark({**environment.for_child(environment.GATEWAY_SECRETS), **command.env}),
        host=profile.gateway.host,
        ports=[profile.gateway.port],
    )
    return RestartingServer(spec, probe=probe, policy=GATEWAY_POLICY)


def _tell_where(profile: Profile, url: str) -> None:
    console.print()
    tell("page", f"{url}/")
    names = ", ".join(repr(entry.name) for entry in profile.models)
    tell("openai", f"{url}/v1  (model {names}, any API key)")
    for entry in profile.models:
        path = "v2" if entry.engine == "triton" else "v1"
        tell(entry.engine, f"http://{LOOPBACK}:{entry.http_port}/{path}")
    tell("logs", str(log_directory(profile)))
    console.print("\nCtrl-C stops everything.")


def _reachable(host: str) -> str:
    return {"0.0.0.0": LOOPBACK, "::": "[::1]"}.get(host, host)
