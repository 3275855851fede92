"""`enginix up PROFILE`: everything a profile needs, from the engine to the first answer."""

from __future__ import annotations

import argparse
import shlex
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from enginix import __version__
from enginix.catalog.load import ModelSpec, find_model
from enginix.checkpoint.load import hash_files
from enginix.cli import environment
from enginix.cli.engine import build_model
from enginix.cli.hello import say_hello
from enginix.cli.own_command import own_command
from enginix.cli.signals import run_until_signalled
from enginix.cli.stage_lines import StageLines
from enginix.errors import EnginixError
from enginix.manifest import check_files, read_manifest
from enginix.process import require_port_free
from enginix.readiness import answers_ok
from enginix.runtimes.find import find_recipe
from enginix.runtimes.make import make_runtime
from enginix.serve.child import ChildSpec
from enginix.serve.commands import gateway_command, triton_command
from enginix.serve.profile import ModelEntry, Profile, load_profile, profile_names
from enginix.serve.supervisor import supervised

RUNTIME = "triton-cpu"

console = Console(highlight=False, soft_wrap=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(profile_names())
    parser.add_argument("profile", metavar="PROFILE", help=f"one of: {names}")
    parser.add_argument("--port", type=int, help="the gateway's port (default: the profile's)")
    parser.add_argument("--host", help="the gateway's address (default: 127.0.0.1)")
    parser.add_argument("--http-port", type=int, help="Triton's HTTP port")
    parser.add_argument("--grpc-port", type=int, help="Triton's gRPC port")
    parser.add_argument("--metrics-port", type=int, help="Triton's metrics port")
    parser.add_argument("--dry-run", action="store_true", help="print the commands and stop")


def run(args: argparse.Namespace) -> int:
    profile = _overridden(load_profile(args.profile), args)
    if args.dry_run:
        for spec in _children(profile):
            print(shlex.join(spec.argv))
        return 0
    _require_ports(profile)
    for entry in profile.models:
        _prepare(find_model(entry.name))
    if run_until_signalled(_serve(profile)):
        console.print("\nstopped; nothing is left running")
    return 0


def _overridden(profile: Profile, args: argparse.Namespace) -> Profile:
    def given(*names: str) -> dict[str, object]:
        return {name: getattr(args, name) for name in names if getattr(args, name) is not None}

    first, *rest = profile.models
    ports = given("http_port", "grpc_port", "metrics_port")
    return replace(
        profile,
        models=[replace(first, **ports), *rest],  # type: ignore[arg-type]
        gateway=replace(profile.gateway, **given("host", "port")),  # type: ignore[arg-type]
    )


def _require_ports(profile: Profile) -> None:
    """Before anything is built: a taken port must not be found out after a minute."""
    for entry in profile.models:
        require_port_free("127.0.0.1", entry.http_port, "--http-port")
        require_port_free("127.0.0.1", entry.grpc_port, "--grpc-port")
        require_port_free("127.0.0.1", entry.metrics_port, "--metrics-port")
    require_port_free(profile.gateway.host, profile.gateway.port, "--port")


def _prepare(spec: ModelSpec) -> None:
    """Its runtime and its engine, made when they are not there."""
    if environment.runtime_override(RUNTIME) is None:
        make_runtime(
            find_recipe(RUNTIME), environment.cache_home(), lambda line: _tell("runtime", line)
        )
    if environment.engine_override() is not None:
        return
    engine = _engine(spec.name)
    if not _is_current(spec, engine):
        lines = StageLines()
        try:
            build_model(spec, engine, lines, replace_it=True)
        finally:
            lines.clear()
    _tell("engine", str(engine))


def _engine(name: str) -> Path:
    return environment.engine_override() or environment.cache_home() / "engines" / name


def _is_current(spec: ModelSpec, engine: Path) -> bool:
    """Whether it was built by this enginix from the checkpoint as it is now, and is whole."""
    try:
        manifest = read_manifest(engine)
        check_files(engine, manifest)
    except EnginixError:
        return False
    if manifest.built_with.enginix != __version__:
        return False
    checkpoint = spec.source.directory
    return checkpoint is None or hash_files(checkpoint) == manifest.source.files


def _children(profile: Profile) -> list[ChildSpec]:
    logs = environment.cache_home() / "logs" / profile.name
    gateway = profile.gateway
    (entry,) = profile.models
    return [
        _triton(entry, logs),
        ChildSpec(
            "gateway",
            gateway_command(own_command(), gateway, entry, _engine(entry.name)),
            logs / "gateway.log",
            partial(answers_ok, f"http://{_reachable(gateway.host)}:{gateway.port}/health"),
        ),
    ]


def _triton(entry: ModelEntry, logs: Path) -> ChildSpec:
    return ChildSpec(
        "triton",
        triton_command(own_command(), entry, _engine(entry.name)),
        logs / f"triton-{entry.name}.log",
        partial(answers_ok, f"http://127.0.0.1:{entry.http_port}/v2/health/ready"),
    )


async def _serve(profile: Profile) -> None:
    began = time.monotonic()

    def report(spec: ChildSpec) -> None:
        _tell(spec.name, f"ready after {time.monotonic() - began:.1f} s")

    async with supervised(_children(profile), report) as supervisor:
        gateway = profile.gateway
        url = f"http://{_reachable(gateway.host)}:{gateway.port}"
        await say_hello(console, url, profile.models[0].name, profile.hello)
        _tell_where(profile, url)
        await supervisor.watch()


def _tell_where(profile: Profile, url: str) -> None:
    console.print()
    _tell("page", f"{url}/")
    _tell("openai", f"{url}/v1  (model {profile.models[0].name!r}, any API key)")
    _tell("triton", f"http://127.0.0.1:{profile.models[0].http_port}/v2")
    _tell("logs", str(environment.cache_home() / "logs" / profile.name))
    console.print("\nCtrl-C stops everything.")


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)


def _tell(subject: str, text: str) -> None:
    console.print(f"[bold]{subject:<8}[/] ", end="")
    console.print(text, markup=False)
