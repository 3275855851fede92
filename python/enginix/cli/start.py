"""`enginix start --engine E --model M`: serve a model in the background."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import replace
from pathlib import Path

from enginix.cli import environment
from enginix.cli.background import Started, end, forget, lock_for, locked, remember, running
from enginix.cli.logs import Followed
from enginix.cli.reexec import own_command
from enginix.cli.signals import terminated_as_exit
from enginix.errors import ModelUnknown, PortTaken, StartFailed, UsageError
from enginix.ports import require_port_free
from enginix.process import Detached, birth_of, describe_exit, start_detached
from enginix.readiness import answers_ok
from enginix.serve.model_entry import LOOPBACK
from enginix.serve.models_file import catalogue_profile, read_models_file
from enginix.serve.profile import GatewayEntry, Profile
from enginix.serve.run_directory import new_log_directory
from enginix.serve.servers import SERVERS, server_called

MODELS = Path("models.json")
POLL_SECONDS = 0.2
# Lines of `enginix up` that only make sense in the foreground.
FOREGROUND_LINES = ("", "Ctrl-C stops everything.")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--engine", required=True, help=f"one of: {', '.join(SERVERS)}")
    parser.add_argument(
        "--model", required=True, metavar="NAME", help="of the file; without one, of the catalogue"
    )
    parser.add_argument(
        "--models", type=Path, metavar="FILE", help=f"models by name (default: {MODELS}, if there)"
    )
    parser.add_argument(
        "--env", metavar="NAME", help="the environment that `enginix setup --env NAME` made"
    )
    default = GatewayEntry().port
    parser.add_argument("--port", type=int, default=default, help="the gateway's (%(default)s)")


def run(args: argparse.Namespace) -> int:
    home = environment.cache_home()
    if args.models is None and MODELS.exists():
        args.models = MODELS
    profile = _profile(args)
    with terminated_as_exit():
        with locked(home):
            _check_free(args, profile, home)
            process, started = _started(args, profile, home)
        try:
            _wait(process, started)
        except BaseException:
            # Also on Ctrl-C: leave nothing running that does not serve yet.
            end(home, started)
            forget(home, started)
            raise
    print(
        f"\n{started.model} is served at {started.url}/v1; `enginix stop {started.model}` ends it"
    )
    return 0


def _profile(args: argparse.Namespace) -> Profile:
    if args.models is None:
        return _of_the_catalogue(args)
    profile = read_models_file(args.models, args.model)
    (entry,) = profile.models
    if server_called(args.engine, "--engine").name != entry.engine:
        raise UsageError(
            f"{args.models} has {args.model} for {entry.engine}, not for {args.engine}; "
            "change --engine, or the file"
        )
    return profile


def _of_the_catalogue(args: argparse.Namespace) -> Profile:
    try:
        return catalogue_profile([args.model], args.engine)
    except ModelUnknown as error:
        raise UsageError(
            f"there is no {MODELS} in {Path.cwd()}, and {error}; name a file of models with "
            "--models"
        ) from None


def _check_free(args: argparse.Namespace, profile: Profile, home: Path) -> None:
    for other in running(home):
        if other.name == profile.name:
            raise UsageError(
                f"{args.model} runs already, at {other.url}; `enginix stop {args.model}` ends it"
            )
        # Its gateway may not listen yet.
        if other.url == _url(args):
            raise PortTaken(args.port, "--port", f"{other.model}, which `enginix start` started")
    require_port_free(LOOPBACK, args.port, "--port")


def _url(args: argparse.Namespace) -> str:
    return f"http://{LOOPBACK}:{args.port}"


def _started(args: argparse.Namespace, profile: Profile, home: Path) -> tuple[Detached, Started]:
    gateway = replace(profile.gateway, port=args.port)
    log = new_log_directory(replace(profile, gateway=gateway), home) / "up.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    source = f"--models={args.models.absolute()}" if args.models else f"--engine={args.engine}"
    command = [*own_command(), "up", source, f"--model={args.model}", f"--port={args.port}"]
    command.append(f"--logs={log.parent}")
    if args.env:
        command.append(f"--set={profile.models[0].name}.environment={args.env}")
    with log.open("wb") as output, lock_for(home, profile.name) as lock:
        process = start_detached(command, output=output, keeps=[lock])
    born = birth_of(process.pid)
    assert born is not None, "it has not been waited for yet"
    started = Started(
        profile.name, args.model, profile.models[0].engine, _url(args), str(log), process.pid, born
    )
    remember(home, started)
    return process, started


def _wait(process: Detached, started: Started) -> None:
    """Show its output until it serves; StartFailed if it ends before."""
    output = Followed(Path(started.log))
    while process.poll() is None:
        _show(output)
        # The gateway starts last: its servers are ready by then.
        if asyncio.run(answers_ok(f"{started.url}/livez")):
            return
        time.sleep(POLL_SECONDS)
    _show(output)
    raise StartFailed(
        f"{started.model} does not serve: `enginix up` {describe_exit(process.returncode)}; "
        f"its output is above and in {started.log}"
    )


def _show(output: Followed) -> None:
    for line in output.new_lines():
        if line not in FOREGROUND_LINES:
            print(line, file=sys.stderr)
