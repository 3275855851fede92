"""`enginix up PROFILE`: everything a profile needs, from the engine to the first answer."""

from __future__ import annotations

import argparse
import logging
import shlex
from dataclasses import replace
from pathlib import Path

from enginix import __version__
from enginix.catalog.load import ModelSpec, find_model
from enginix.checkpoint.load import hash_files
from enginix.cli import environment
from enginix.cli.engine import build_model
from enginix.cli.find_engine import find_engine, given_engine
from enginix.cli.signals import run_until_signalled
from enginix.cli.stage_lines import StageLines
from enginix.cli.up_serve import console, serve_profile, tell
from enginix.cli.up_servers import (
    RUNTIME,
    engine_directory,
    gateway_of,
    require_program,
    run_directory,
    servers_of,
)
from enginix.cli.up_wishes import with_free_ports
from enginix.errors import EnginixError, UsageError
from enginix.manifest import check_files, read_manifest
from enginix.ports import require_port_free
from enginix.process import find_program
from enginix.process import run as run_command
from enginix.runtimes.find import find_recipe
from enginix.runtimes.make import make_runtime
from enginix.runtimes.triton_cpu import require_shared_memory
from enginix.serve.commands import LOOPBACK
from enginix.serve.gpus import check_devices, listed_devices, shared_devices
from enginix.serve.models_file import catalogue_profile, read_models_file
from enginix.serve.overrides import overridden
from enginix.serve.profile import ModelEntry, Profile, load_profile, profile_names

logger = logging.getLogger(__name__)

GATEWAY_FLAGS = ("host", "port", "workers", "allowed_hosts", "cors_origins", "allow_image_urls")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(profile_names())
    parser.add_argument("profile", nargs="?", metavar="PROFILE", help=f"one of: {names}")
    parser.add_argument(
        "--models", type=Path, metavar="FILE", help="or the models of a models.json"
    )
    parser.add_argument(
        "--model", metavar="NAME", help="only this one of them; without them, of the catalogue"
    )
    parser.add_argument(
        "--engine", help="what serves a model of the catalogue (default: its kind's)"
    )
    parser.add_argument("--port", type=int, help="the gateway's port (default: the profile's)")
    parser.add_argument("--host", help="the gateway's address (default: 127.0.0.1)")
    parser.add_argument("--workers", type=int, help="the gateway's processes (default: 1)")
    for option, what in (("--allowed-host", "NAME"), ("--cors-origin", "ORIGIN")):
        dest = f"{option.strip('-').replace('-', '_')}s"
        text = f"the gateway's {option}; may be given again"
        parser.add_argument(option, dest=dest, action="append", metavar=what, help=text)
    parser.add_argument(
        "--allow-image-urls",
        action="store_true",
        default=None,
        help="the gateway's --allow-image-urls",
    )
    parser.add_argument("--http-port", type=int, help="the first model's HTTP port")
    parser.add_argument("--grpc-port", type=int, help="its gRPC port, if Triton serves it")
    parser.add_argument("--metrics-port", type=int, help="its metrics port, likewise")
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
        help="models may be loaded by their path from there (and from enginix' own directories)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands and stop")


def run(args: argparse.Namespace) -> int:
    profile = overridden(_with_flags(_chosen(args), args), args.set)
    profile = replace(profile, models=[with_free_ports(entry) for entry in profile.models])
    if args.dry_run:
        _show(profile)
        return 0
    _require_ports(profile)
    _check_gpus(profile)
    if any(entry.engine == "triton" for entry in profile.models):
        require_shared_memory()
    for entry in profile.models:
        require_program(entry)
    for entry in profile.models:
        _prepare(entry)
    if run_until_signalled(serve_profile(profile)):
        console.print("\nstopped; nothing is left running")
    return 0


def _chosen(args: argparse.Namespace) -> Profile:
    if args.profile is not None:
        if args.models or args.model or args.engine:
            raise UsageError(
                "a PROFILE says which models run; leave --models, --model and --engine out"
            )
        return load_profile(args.profile)
    if args.models is not None:
        if args.engine is not None:
            raise UsageError(f"{args.models} says what serves a model; leave --engine out")
        return read_models_file(args.models, args.model)
    if args.model is None:
        raise UsageError("expected a PROFILE, --models FILE or --model NAME: enginix up demo")
    return catalogue_profile(args.model, args.engine)


def _with_flags(profile: Profile, args: argparse.Namespace) -> Profile:
    def given(*names: str) -> dict[str, object]:
        return {name: getattr(args, name) for name in names if getattr(args, name) is not None}

    first, *rest = profile.models
    ports = given("http_port", "grpc_port", "metrics_port")
    return replace(
        profile,
        models=[replace(first, **ports), *rest],  # type: ignore[arg-type]
        gateway=replace(profile.gateway, **given(*GATEWAY_FLAGS)),  # type: ignore[arg-type]
        model_roots=[*profile.model_roots, *(str(root.absolute()) for root in args.model_root)],
    )


def _show(profile: Profile) -> None:
    """As a script: what is written, and what is run in which order."""
    servers = servers_of(profile)
    print(f"mkdir -p {shlex.quote(str(run_directory(profile)))}")
    for command in [*(server.command for server in servers), gateway_of(profile, servers)]:
        for path, text in command.files.items():
            print(f"cat > {shlex.quote(str(path))} <<'EOF'\n{text}EOF")
        print(shlex.join([*(f"{name}={value}" for name, value in command.env.items())]), end="")
        print(" " * bool(command.env) + shlex.join(command.argv))


def _require_ports(profile: Profile) -> None:
    """Before anything is built: a taken port must not be found out after a minute."""
    for place, entry in enumerate(profile.models):
        for flag, port in entry.ports.items():
            key = flag.removeprefix("--").replace("-", "_")
            require_port_free(LOOPBACK, port, flag if not place else f"--set {entry.name}.{key}=N")
    require_port_free(profile.gateway.host, profile.gateway.port, "--port")


def _check_gpus(profile: Profile) -> None:
    if any(entry.gpus for entry in profile.models) and (smi := find_program("nvidia-smi")):
        check_devices(profile, listed_devices(run_command([str(smi), "-L"], timeout=20)))
    for warning in shared_devices(profile):
        logger.warning("%s", warning)


def _prepare(entry: ModelEntry) -> None:
    """Its runtime and its engine, made when they are not there."""
    if entry.engine not in ("triton", "llamacpp"):
        return
    if entry.path:
        if entry.engine == "llamacpp" or read_manifest(Path(entry.path)).kind == "gguf":
            _prepare_runtime()
        return
    spec = find_model(entry.model)
    if spec.kind != "gguf":
        tell("engine", str(find_engine(spec.name)))
        return
    _prepare_runtime()
    if given_engine(spec.name):
        return
    engine = engine_directory(spec.name)
    if not _is_current(spec):
        lines = StageLines()
        try:
            build_model(spec, engine, lines, replace_it=True)
        finally:
            lines.clear()
    tell("engine", str(engine))


def _prepare_runtime() -> None:
    if environment.runtime_override(RUNTIME) is None:
        make_runtime(
            find_recipe(RUNTIME), environment.cache_home(), lambda line: tell("runtime", line)
        )


def _is_current(spec: ModelSpec) -> bool:
    """Whether it was built by this enginix from the checkpoint as it is now, and is whole."""
    engine = engine_directory(spec.name)
    try:
        manifest = read_manifest(engine)
        check_files(engine, manifest)
    except EnginixError:
        return False
    if manifest.built_with.enginix != __version__:
        return False
    checkpoint = spec.source.directory
    return checkpoint is None or hash_files(checkpoint) == manifest.source.files
