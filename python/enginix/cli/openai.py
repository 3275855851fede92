"""`enginix openai ENGINE`: serves the OpenAI API in front of Triton."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from enginix.catalog.load import Ports
from enginix.cli import environment
from enginix.cli.find_engine import find_engine
from enginix.cli.gateway_options import (
    add_gateway_arguments,
    address_for_others,
    gateway_entry,
    limits_of,
    open_to_others,
    settings_of,
)
from enginix.cli.openai_models import Connect, OpenModels, opener_of, read_models, triton_model
from enginix.cli.openai_reload import not_reloading, reloading
from enginix.cli.openai_workers import run_workers
from enginix.cli.running_gateway import listed
from enginix.errors import UsageError
from enginix.gateway.app import create_app
from enginix.gateway.models.state import Gateway
from enginix.gateway.server import listen, serve
from enginix.gateway.settings import Settings
from enginix.ports import require_port_free
from enginix.serve.files import WatchedFiles, stamp
from enginix.serve.gateway import gateway_url
from enginix.serve.profile import GatewayEntry
from enginix.triton.client.client import DEFAULT_TRANSPORT, TritonClient

logger = logging.getLogger(__name__)

PORTS = Ports()
TRITON = f"127.0.0.1:{PORTS.grpc}"
TRITON_METRICS = f"http://127.0.0.1:{PORTS.metrics}/metrics"


class Models(NamedTuple):
    """What a gateway serves, and what changes that while it does."""

    open: OpenModels
    beside: Callable[[Gateway], AbstractAsyncContextManager[None]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "engine",
        nargs="?",
        metavar="ENGINE|NAME",
        help="an engine directory, or a model of the catalogue",
    )
    add(
        "--models",
        type=Path,
        metavar="FILE",
        help="instead of ENGINE: a file of models and their servers, as `enginix up` writes it",
    )
    add(
        "--triton",
        default=TRITON,
        metavar="HOST:PORT",
        help="Triton's gRPC address, or several separated by commas (%(default)s)",
    )
    add(
        "--triton-metrics",
        metavar="URL",
        help="the metrics page of the one Triton at --triton: what endpoint pickers read of it is "
        f"in /metrics (for the default --triton: {TRITON_METRICS})",
    )
    add_gateway_arguments(parser)
    parser.add_argument(
        "--watch",
        action="store_true",
        help="take up changes of FILE as they are written; without it, on SIGHUP",
    )
    parser.add_argument("--supervisor", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    entry = gateway_entry(args, GatewayEntry())
    settings = settings_of(entry, args.supervisor)
    models = models_of(args, entry)
    if args.worker:
        serve_worker(args, entry, models, settings)
        return 0
    require_port_free(entry.host, entry.port, "--port")
    if warning := open_to_others(entry, settings):
        logger.warning("%s", warning)
    if entry.workers == 1:
        serve_worker(args, entry, models, settings)
        return 0
    with listed(entry) if not args.supervisor else nullcontext():
        seconds = settings.load.shutdown_delay + settings.load.drain
        run_workers(sys.argv[1:], address(entry), entry.workers, seconds)
    return 0


def models_of(args: argparse.Namespace, entry: GatewayEntry) -> Models:
    if (args.engine is None) == (args.models is None):
        raise UsageError("expected either an engine or --models FILE, and not both")
    if args.models is not None:
        files = WatchedFiles([args.models.absolute()], stamp([args.models]), args.watch)
        read = partial(
            read_models,
            args.models,
            connector(entry),
            limits_of(entry).first_token,
            may_be_empty=args.supervisor is not None,
        )
        first = read()
        is_supervised = args.supervisor is not None
        return Models(
            lambda: [opened for model in first for opened in model.open()],
            lambda gateway: (
                not_reloading() if is_supervised else reloading(gateway, files, first, read)
            ),
        )
    metrics = TRITON_METRICS if args.triton == TRITON else ""
    open_models = triton_model(
        find_engine(args.engine),
        args.triton,
        connector(entry),
        metrics if args.triton_metrics is None else args.triton_metrics,
    )
    return Models(open_models, lambda _: not_reloading())


def connector(entry: GatewayEntry) -> Connect:
    limits, transport = limits_of(entry), entry.transport or DEFAULT_TRANSPORT

    def connect(address: str, vocabulary: int) -> TritonClient:
        return TritonClient(address, transport=transport, limits=limits, vocabulary=vocabulary)

    return connect


def serve_worker(
    args: argparse.Namespace, entry: GatewayEntry, models: Models, settings: Settings
) -> None:
    """Serve in this process until a signal."""
    log_requests(entry.access_log)
    app = create_app(
        models.open,
        settings,
        opener=opener_of(connector(entry), limits_of(entry).first_token),
        beside=models.beside,
        metrics_directory=environment.metrics_directory() if args.worker else None,
    )
    listener = listen(
        entry.host,
        entry.port,
        shared=args.worker,
        stalled_reader=settings.load.stalled_reader,
    )
    host, port = listener.getsockname()[:2]
    here = replace(entry, host=host, port=port)
    with listed(here) if not (args.worker or args.supervisor) else nullcontext():
        if not args.worker:
            print(address(here), flush=True)
        serve(app, listener, settings.load)


def address(entry: GatewayEntry) -> str:
    url, network = gateway_url(entry), address_for_others(entry)
    others = f"; other machines reach it at {network}/v1" if network else ""
    return f"The OpenAI API is at {url}/v1, its page at {url}/{others}"


def log_requests(wanted: bool) -> None:
    """Log requests to standard output, one line of JSON each."""
    access = logging.getLogger("enginix.access")
    access.propagate = False
    access.setLevel(logging.INFO if wanted else logging.WARNING)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    access.addHandler(handler)
