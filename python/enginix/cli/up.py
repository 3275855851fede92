"""`enginix up PROFILE`: prepares and runs everything that a profile needs."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from enginix.checkpoint.locate import find_checkpoint
from enginix.cli import environment
from enginix.cli.api_keys import has_names
from enginix.cli.chosen_profile import Origin, completed, key_files, origin_of, sources_of
from enginix.cli.find_engine import find_engine
from enginix.cli.gateway_options import (
    accepted_keys,
    add_gateway_arguments,
    address_for_others,
    open_to_others,
    settings_of,
)
from enginix.cli.reexec import own_command
from enginix.cli.signals import hangup_is_ignored, run_until_signalled, terminated_as_exit
from enginix.cli.smoke_test import try_hello
from enginix.cli.up_prepare import make_missing, prepare
from enginix.cli.views.told import console, tell
from enginix.errors import StartFailed
from enginix.inventory.leftovers import remove_old_logs
from enginix.serve.environment import Environment
from enginix.serve.files import WatchedFiles, stamp
from enginix.serve.gateway import gateway_url
from enginix.serve.gpus import check_gpus
from enginix.serve.model_entry import LOOPBACK
from enginix.serve.model_server import commands_of, model_servers
from enginix.serve.overrides import overridden
from enginix.serve.ports import require_ports_free, with_free_ports
from enginix.serve.profile import Profile, profile_names
from enginix.serve.reload import Sources
from enginix.serve.run_directory import control_path, new_log_directory, run_directory
from enginix.serve.servers import SERVERS
from enginix.serve.supervisor import Server
from enginix.serve.up import may_fail, running_profile

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(profile_names())
    parser.add_argument(
        "profile",
        nargs="?",
        metavar="PROFILE",
        help=f"one of: {names}; without one, no model is loaded yet",
    )
    parser.add_argument(
        "--models", type=Path, metavar="FILE", help="run the models of a models.json instead"
    )
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="NAME",
        help="only this model of FILE; without FILE, one of the catalogue; repeatable",
    )
    parser.add_argument(
        "--engine", help="the server for a model of the catalogue (default: by its kind)"
    )
    parser.add_argument("--http-port", type=int, help="the first model's HTTP port")
    parser.add_argument("--grpc-port", type=int, help="its gRPC port, if Triton serves it")
    parser.add_argument("--metrics-port", type=int, help="its metrics port, if Triton serves it")
    add_serving_arguments(parser)
    parser.add_argument(
        "--watch",
        action="store_true",
        help="take up changes of the profile, of FILE and of the keys as they are written; without "
        "it, on SIGHUP",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands and stop")
    parser.add_argument(
        "--prepare",
        action="store_true",
        help="fetch and build what is missing, TensorRT-LLM's engines included, and stop",
    )


def add_serving_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of every command that runs a profile."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME.KEY=VALUE",
        help="change the profile: demo.http_port=8100, NAME.options.max_model_len=8192",
    )
    parser.add_argument(
        "--model-root",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="clients may load models by path from DIR (and from enginix' own directories)",
    )
    parser.add_argument("--logs", type=Path, help=argparse.SUPPRESS)
    add_gateway_arguments(parser)


def run(args: argparse.Namespace) -> int:
    origin, here = origin_of(args), own_environment()
    if not args.prepare:
        return run_profile(origin, here, args)
    with terminated_as_exit():
        for entry in overridden(origin.read(), args.set).models:
            make_missing(entry, here)
            prepare(entry, here)
    return 0


def run_profile(origin: Origin, here: Environment, args: argparse.Namespace) -> int:
    """Serve it with the gateway's arguments until a signal comes; with --dry-run, show it."""
    profile = completed(origin.read(), here, args)
    keys = key_files(profile.gateway)
    first_keys = stamp(keys)
    profile = replace(profile, models=with_free_ports(profile.models))
    settings = settings_of(profile.gateway, control_path(profile, here.home))
    here = replace(here, logs=args.logs or new_log_directory(profile, here.home))
    if args.dry_run:
        _show(profile, here)
        return 0
    require_ports_free(profile)
    for warning in check_gpus(profile):
        logger.warning("%s", warning)
    for entry in profile.models:
        if entry.replicas_here:
            SERVERS[entry.engine].require_machine()
            SERVERS[entry.engine].find(here, entry)
    for entry in profile.models:
        prepare(entry, here)
    remove_old_logs(here.home, profile.name)
    sources = sources_of(origin, keys, first_keys, settings, here, args)
    serving = _serve(profile, here, open_to_others(profile.gateway, settings), sources)
    if run_until_signalled(serving, sources.files.asked.set):
        # The terminal may be gone.
        with suppress(OSError):
            console.print("\nstopped; nothing is left running")
    return 0


def own_environment() -> Environment:
    home = environment.cache_home()
    return Environment(
        home=home,
        logs=home / "logs",
        enginix=own_command(),
        runtime=environment.runtime_override,
        find_engine=find_engine,
        find_checkpoint=lambda spec: find_checkpoint(spec, home),
        gateway_variables=environment.for_child(environment.GATEWAY_SECRETS),
        server_variables=environment.for_server,
    )


def _show(profile: Profile, here: Environment) -> None:
    """Print a script that writes the files and runs the commands in order."""
    print(f"mkdir -p {shlex.quote(str(run_directory(profile, here.home)))}")
    for command in commands_of(profile, model_servers(profile, here), here):
        for path, text in command.files.items():
            print(f"cat > {shlex.quote(str(path))} <<'EOF'\n{text}EOF")
        print(shlex.join([*(f"{name}={value}" for name, value in command.env.items())]), end="")
        print(" " * bool(command.env) + shlex.join(command.argv))


async def _serve(
    profile: Profile, here: Environment, warning: str | None, sources: Sources
) -> None:
    """Serve until cancelled; leaves nothing running."""
    start = time.monotonic()
    titles = {entry.name: f"{SERVERS[entry.engine].title} " for entry in profile.models}

    def report(server: Server, failure: StartFailed | None) -> None:
        title = titles.get(server.name, "")
        if failure is None:
            tell(server.name, f"{title}ready after {time.monotonic() - start:.1f} s")
        elif server.name in may_fail(profile):
            tell(server.name, f"{title}failed and is tried again: {failure}")

    url = gateway_url(profile.gateway)
    async with running_profile(profile, here, report, sources) as scheduler:
        keys = profile.gateway.api_keys
        if keys and has_names(keys) and not environment.api_keys():
            # It holds no key that the sample question could be asked with.
            profile = replace(profile, hello="")
        talk = {entry.name for entry in profile.models if entry.task == "generate"}
        for name in filter(talk.__contains__, scheduler.loaded) if profile.hello else ():
            if why := await try_hello(console, url, name, profile.hello):
                tell(name, f"has not answered the sample question yet: {why}")
        _tell_where(profile, url, here.logs)
        if sources.files.paths:
            tell("reload", how_to_reload(sources.files))
        if warning:
            console.print("\n[bold white on red] WARNING [/] ", end="")
            console.print(f"{warning[0].upper()}{warning[1:]}.", style="bold", markup=False)
        console.print("\nCtrl-C stops everything.")
        await scheduler.expire()


def _tell_where(profile: Profile, url: str, logs: Path) -> None:
    console.print()
    tell("page", f"{url}/")
    names = ", ".join(repr(entry.name) for entry in profile.models)
    model = f"model {names}" if names else "no model yet"
    tell("openai", f"{url}/v1  ({model}, {accepted_keys(profile.gateway)})")
    if network := address_for_others(profile.gateway):
        tell("network", f"{network}/ and {network}/v1 on other machines")
    if not names:
        tell("load", "a model with `enginix load NAME`, or `enginix load --path FILE`")
    for entry in profile.models:
        if entry.replicas_here:
            more = f" and {entry.replicas_here - 1} more" if entry.replicas_here > 1 else ""
            path = SERVERS[entry.engine].path
            tell(entry.engine, f"http://{LOOPBACK}:{entry.http_port}/{path}{more}")
        for endpoint in entry.endpoints:
            tell(entry.engine, f"{endpoint}, which runs elsewhere")
    tell("logs", str(logs))


def how_to_reload(files: WatchedFiles) -> str:
    names = " and ".join(map(str, files.paths))
    if files.watched:
        return f"changes of {names} are taken up"
    if hangup_is_ignored():
        return f"of {names} is off: SIGHUP is ignored here, as under nohup; start with --watch"
    return f"changes of {names} with: kill -HUP {os.getpid()}"
