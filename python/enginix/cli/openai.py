"""`enginix openai ENGINE`: serves the OpenAI API in front of Triton."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from ipaddress import ip_address
from pathlib import Path

from enginix.catalog.load import Ports
from enginix.cli import environment
from enginix.cli.find_engine import find_engine
from enginix.cli.openai_models import Connect, OpenModels, opener_of, read_models, triton_model
from enginix.cli.openai_workers import run_workers
from enginix.cli.running_gateway import listed
from enginix.errors import UsageError
from enginix.gateway.app import create_app
from enginix.gateway.http.origin import LOOPBACK_NAMES, host_name
from enginix.gateway.server import listen, serve
from enginix.gateway.settings import LoadLimits, RequestLimits, Settings
from enginix.generation.limits import Limits
from enginix.ports import require_port_free
from enginix.triton.client.client import DEFAULT_TRANSPORT, TRANSPORTS, TritonClient

logger = logging.getLogger(__name__)

ABOVE_ZERO = (
    "workers",
    "max_running",
    "max_tokens",
    "max_body_mb",
    "first_token_seconds",
    "next_token_seconds",
    "stalled_seconds",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    ports, request, load, wait = Ports(), RequestLimits(), LoadLimits(), Limits()
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
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=int, default=ports.gateway, help="%(default)s")
    add(
        "--triton",
        default=f"127.0.0.1:{ports.grpc}",
        metavar="HOST:PORT",
        help="Triton's gRPC address, or several separated by commas (%(default)s)",
    )
    add("--transport", choices=sorted(TRANSPORTS), default=DEFAULT_TRANSPORT, help="%(default)s")
    add("--workers", type=int, default=1, help="processes that share the port (%(default)s)")
    add(
        "--api-keys",
        type=Path,
        metavar="FILE",
        help="one key per line; also ENGINIX_API_KEYS. Without keys, no authorization is needed",
    )
    add(
        "--cors-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="allow web pages of this origin, such as https://chat.example; repeatable; * for all",
    )
    add(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="accept this name in Host headers, besides localhost; repeatable. Other names are "
        "refused if this option is given, or on a loopback address without keys",
    )
    add(
        "--allow-image-urls",
        action="store_true",
        help="pass http and https image URLs on to servers, which fetch them from their own "
        "network; otherwise only images inside the request are accepted",
    )
    limits = parser.add_argument_group("limits")
    add = limits.add_argument
    add("--max-running", type=int, default=load.running, help="concurrent answers (%(default)s)")
    add("--max-waiting", type=int, default=load.waiting, help="queued requests (%(default)s)")
    add("--max-tokens", type=int, default=request.max_tokens, help="per answer (the context)")
    add("--max-body-mb", type=float, default=request.body_bytes / 2**20, help="%(default)g")
    add(
        "--first-token-seconds",
        type=float,
        default=wait.first_token,
        help="timeout for the first token, including the queue (%(default)g)",
    )
    add(
        "--next-token-seconds",
        type=float,
        default=wait.next_token,
        help="timeout for each further token (%(default)g)",
    )
    add(
        "--stalled-seconds",
        type=float,
        default=load.stalled_reader,
        help="disconnect a client that reads nothing for this long (%(default)g)",
    )
    add(
        "--drain-seconds",
        type=float,
        default=load.drain,
        help="for running answers to finish after SIGTERM (%(default)g)",
    )
    log = parser.add_argument_group("log")
    log.add_argument("--no-access-log", action="store_true", help="do not log requests as JSON")
    log.add_argument("--log-prompts", action="store_true", help="log the requests' texts as well")
    parser.add_argument("--supervisor", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    open_models = models_of(args)
    if args.worker:
        serve_worker(args, open_models, settings, environment.metrics_directory())
        return 0
    require_port_free(args.host, args.port, "--port")
    warn_when_open(args.host, settings)
    if args.workers > 1:
        where = address(args.host, args.port)
        with listed(args.host, args.port) if not args.supervisor else nullcontext():
            run_workers(sys.argv[1:], where, args.workers, settings.load.drain)
        return 0
    serve_worker(args, open_models, settings, None)
    return 0


def models_of(args: argparse.Namespace) -> OpenModels:
    if (args.engine is None) == (args.models is None):
        raise UsageError("expected either an engine or --models FILE, and not both")
    if args.models is not None:
        return read_models(args.models, connector(args), args.first_token_seconds)
    open_model = triton_model(find_engine(args.engine), args.triton, connector(args))
    return lambda: [open_model()]


def connector(args: argparse.Namespace) -> Connect:
    limits = Limits(first_token=args.first_token_seconds, next_token=args.next_token_seconds)

    def connect(address: str, vocabulary: int) -> TritonClient:
        return TritonClient(address, transport=args.transport, limits=limits, vocabulary=vocabulary)

    return connect


def serve_worker(
    args: argparse.Namespace,
    open_models: OpenModels,
    settings: Settings,
    metrics_directory: str | None,
) -> None:
    """Serve in this process until a signal."""
    log_requests(not args.no_access_log)
    app = create_app(
        open_models,
        settings,
        opener=opener_of(connector(args), args.first_token_seconds),
        metrics_directory=metrics_directory,
    )
    listener = listen(
        args.host,
        args.port,
        shared=args.worker,
        stalled_reader=settings.load.stalled_reader,
    )
    host, port = listener.getsockname()[:2]
    with listed(host, port) if not (args.worker or args.supervisor) else nullcontext():
        if not args.worker:
            print(address(host, port), flush=True)
        serve(app, listener, settings.load.drain)


def address(host: str, port: int) -> str:
    netloc = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"The OpenAI API is at http://{netloc}/v1, its page at http://{netloc}/"


def settings_of(args: argparse.Namespace) -> Settings:
    for name in ABOVE_ZERO:
        value = getattr(args, name)
        if value is not None and value <= 0:
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag} is {value:g}; expected more than 0")
    keys = environment.api_keys() | (read_keys(args.api_keys) if args.api_keys else frozenset())
    return Settings(
        request=RequestLimits(
            body_bytes=int(args.max_body_mb * 2**20),
            image_urls=args.allow_image_urls,
            max_tokens=args.max_tokens,
        ),
        load=LoadLimits(
            running=args.max_running,
            waiting=max(0, args.max_waiting),
            drain=args.drain_seconds,
            stalled_reader=args.stalled_seconds,
        ),
        api_keys=keys,
        cors_origins=frozenset(map(origin, args.cors_origin)),
        allowed_hosts=allowed_hosts(args.host, args.allowed_host, keyless=not keys),
        log_prompts=args.log_prompts,
        supervisor=args.supervisor,
    )


def origin(text: str) -> str:
    """An origin as browsers send it: a scheme, a host and an optional port, nothing else."""
    scheme, _, host = text.rstrip("/").partition("://")
    if text != "*" and (scheme not in ("http", "https") or not host or "/" in host):
        raise UsageError(f"--cors-origin {text}: expected https://HOST, http://HOST:PORT or *")
    return text.rstrip("/")


def allowed_hosts(host: str, named: Sequence[str], *, keyless: bool) -> frozenset[str]:
    """The names a Host header may hold; empty allows any.

    Without this, a web page could reach a keyless loopback server by DNS rebinding. On other
    addresses we cannot know the names that clients use.
    """
    for name in named:
        if not name or "/" in name or host_name(name) != name.lower():
            raise UsageError(f"--allowed-host {name}: expected a host's name, without a port")
    if not named and not (keyless and is_loopback(host)):
        return frozenset()
    own = f"[{host}]" if ":" in host else host.lower()
    return LOOPBACK_NAMES | {own, *(name.lower() for name in named)}


def read_keys(path: Path) -> frozenset[str]:
    """One key per line; empty lines and lines that start with # are ignored."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--api-keys {path} cannot be read: {error}") from None
    keys = frozenset(line.strip() for line in lines if line.strip() and line[0] != "#")
    if not keys:
        # An empty file would disable authorization, which cannot be what the user wants.
        raise UsageError(f"--api-keys {path} holds no key; write one key per line")
    return keys


def warn_when_open(host: str, settings: Settings) -> None:
    if settings.api_keys or is_loopback(host):
        return
    logger.warning(
        "listening on %s without API keys: anyone who can reach this machine can use it; "
        "give --api-keys FILE or listen on 127.0.0.1",
        host,
    )


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def log_requests(wanted: bool) -> None:
    """Log requests to standard output, one line of JSON each."""
    access = logging.getLogger("enginix.access")
    access.propagate = False
    access.setLevel(logging.INFO if wanted else logging.WARNING)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    access.addHandler(handler)
