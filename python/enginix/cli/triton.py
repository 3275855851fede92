"""`enginix triton ENGINE`: serve an engine with NVIDIA Triton, in the foreground."""

from __future__ import annotations

import argparse
from functools import partial

from enginix.catalog.load import Ports
from enginix.cli import environment
from enginix.cli.find_engine import find_engine
from enginix.cli.signals import run_until_signalled
from enginix.errors import ProcessError
from enginix.manifest import check_files, read_manifest
from enginix.process import describe_exit
from enginix.readiness import answers_ok
from enginix.runtimes.find import find_runtime
from enginix.runtimes.triton_cpu import (
    cache_directory,
    check_runtime,
    link_backends,
    tritonserver,
)
from enginix.runtimes.triton_cpu import environment as runtime_environment
from enginix.triton.command import Installation, ServerOptions, tritonserver_command
from enginix.triton.launch import Launch, launched, require_ports_free
from enginix.triton.repository import RenderOptions, render_repository
from enginix.triton.workplace import workplace

RUNTIME = "triton-cpu"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    ports = Ports()
    parser.add_argument("engine", metavar="ENGINE|NAME", help="an engine directory, or a model")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--http-port", type=int, default=ports.http, help="%(default)s")
    parser.add_argument("--grpc-port", type=int, default=ports.grpc, help="%(default)s")
    parser.add_argument("--metrics-port", type=int, default=ports.metrics, help="%(default)s")
    parser.add_argument("--threads", type=int, default=0, help="for gguf engines (one a core)")
    parser.add_argument(
        "--exit-timeout",
        type=int,
        default=10,
        metavar="SECONDS",
        help="what running requests get to finish on SIGTERM (%(default)s)",
    )
    parser.add_argument(
        "--start-timeout",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="until it must be ready (%(default)s)",
    )
    parser.add_argument("--log-verbose", type=int, default=0, metavar="LEVEL", help="Triton's own")


def run(args: argparse.Namespace) -> int:
    engine = find_engine(args.engine)
    manifest = read_manifest(engine)
    check_files(engine, manifest)
    options = ServerOptions(
        host=args.host,
        http_port=args.http_port,
        grpc_port=args.grpc_port,
        metrics_port=args.metrics_port,
        exit_timeout=args.exit_timeout,
        log_verbose=args.log_verbose,
    )
    require_ports_free(options)
    runtime = find_runtime(RUNTIME, environment.cache_home(), environment.runtime_override(RUNTIME))
    check_runtime(runtime)
    with workplace() as place:
        repository, backends = place.directory / "repository", place.directory / "backends"
        render_repository(engine, manifest, repository, RenderOptions(threads=args.threads))
        link_backends(runtime, backends)
        command = tritonserver_command(
            Installation(tritonserver(runtime), backends, cache_directory(runtime)),
            repository,
            options,
            shm_prefix=place.shm_prefix,
        )
        variables = runtime_environment(runtime, environment.everything())
        launch = Launch(command, variables, options, args.start_timeout)
        run_until_signalled(_serve(launch, f"{manifest.name} from {engine}"))
    return 0


async def _serve(launch: Launch, what: str) -> None:
    options = launch.options
    async with launched(launch, partial(answers_ok, options.ready_url)) as server:
        print(
            f"Triton serves {what}: HTTP {options.http_port}, gRPC {options.grpc_port}, "
            f"metrics {options.metrics_port}; Ctrl-C ends it",
            flush=True,
        )
        raise ProcessError(f"Triton {describe_exit(await server.wait())}; its log says why")
