"""`enginix triton ENGINE`: serve an engine with NVIDIA Triton, in the foreground."""

from __future__ import annotations

import argparse
import errno
import logging
from contextlib import AsyncExitStack, ExitStack
from ipaddress import IPv6Address
from pathlib import Path

from enginix.catalog.load import Ports
from enginix.cli import triton_gguf, triton_trtllm
from enginix.cli.find_engine import find_engine
from enginix.cli.otlp_traces import ENDPOINT, collector_url
from enginix.cli.signals import run_until_signalled
from enginix.errors import EngineMismatch, UsageError
from enginix.manifest import manifest_hash, read_manifest
from enginix.ports import is_loopback, require_port_free
from enginix.process import adopt_orphans, end_adopted
from enginix.readiness import answers_ok
from enginix.runtimes.triton_cpu import require_shared_memory
from enginix.triton.server.command import ServerOptions
from enginix.triton.server.launch import Launch, launched, require_ports_free
from enginix.triton.server.nodes import PORT, Nodes, follow, leading
from enginix.triton.server.scratch_dir import ScratchDir, backend_directories, new_scratch_dir

logger = logging.getLogger(__name__)

# Engine kind -> the module that serves it: `check(engine, manifest)` refuses an engine that cannot
# run here before anything starts, and `plan(...)` makes the launch.
KINDS = {"gguf": triton_gguf, "tensorrt-llm": triton_trtllm}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    ports = Ports()
    parser.add_argument(
        "engine",
        nargs="?",
        metavar="ENGINE|NAME",
        help="an engine directory, or a model (default: $ENGINIX_ENGINE)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--http-port", type=int, default=ports.http, help="%(default)s")
    parser.add_argument("--grpc-port", type=int, default=ports.grpc, help="%(default)s")
    parser.add_argument("--metrics-port", type=int, default=ports.metrics, help="%(default)s")
    parser.add_argument("--threads", type=int, default=0, help="for gguf engines (one per core)")
    parser.add_argument(
        "--kv-cache-fraction",
        type=float,
        default=0.9,
        metavar="PART",
        help="of the GPU memory left after loading (tensorrt-llm engines, %(default)s)",
    )
    parser.add_argument(
        "--exit-timeout",
        type=int,
        default=10,
        metavar="SECONDS",
        help="for running requests to finish after SIGTERM (%(default)s)",
    )
    parser.add_argument(
        "--start-timeout",
        type=float,
        metavar="SECONDS",
        help=f"to become ready in ({triton_gguf.START_TIMEOUT:g}; "
        f"{triton_trtllm.START_TIMEOUT:g} for tensorrt-llm engines)",
    )
    _add_log_arguments(parser)
    _add_node_arguments(parser)


def _add_log_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--log-verbose", type=int, default=0, metavar="LEVEL", help="for Triton")
    parser.add_argument(
        ENDPOINT,
        metavar="URL",
        help="send Triton's spans of the requests that the gateway traces here, such as "
        "http://127.0.0.1:4318/v1/traces",
    )


def _add_node_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--nodes",
        type=int,
        default=1,
        metavar="N",
        help="machines that share the ranks of a tensorrt-llm engine; this one has rank 0",
    )
    parser.add_argument(
        "--join",
        metavar="HOST[:PORT]",
        help="run ranks of the engine that HOST serves; say --nodes there and here",
    )
    parser.add_argument(
        "--nodes-port",
        type=int,
        default=PORT,
        metavar="PORT",
        help="where the other machines join this one (%(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    if not 0 < args.kv_cache_fraction <= 1:
        raise UsageError(
            f"--kv-cache-fraction is {args.kv_cache_fraction:g}; expected more than 0, at most 1"
        )
    _check_numbers(args)
    engine = find_engine(args.engine)
    manifest = read_manifest(engine)
    kind = KINDS.get(manifest.kind)
    if kind is None:
        raise EngineMismatch(
            f"{engine} is of kind {manifest.kind}, which enginix does not serve with Triton; "
            f"it serves {', '.join(KINDS)}"
        )
    _check_nodes(args, manifest.parallelism.world_size)
    kind.check(engine, manifest, args.nodes)
    require_shared_memory()
    options = ServerOptions(
        host=args.host,
        http_port=args.http_port,
        grpc_port=args.grpc_port,
        metrics_port=args.metrics_port,
        exit_timeout=args.exit_timeout,
        log_verbose=args.log_verbose,
        traces=collector_url(args.otlp_traces_endpoint) if args.otlp_traces_endpoint else "",
    )
    if not args.join:
        require_ports_free(options)
    if not args.join and not is_loopback(options.host):
        logger.warning(
            "anyone who can reach ports %d, %d and %d of this machine can use and unload the model,"
            " because Triton knows no API keys; listen on 127.0.0.1 and let the gateway, which "
            "does, face others",
            *(options.http_port, options.grpc_port, options.metrics_port),
        )
    with new_scratch_dir() as scratch:
        nodes = _nodes(engine, scratch, args)
        launch = kind.plan(scratch.plain_name(engine), manifest, options, scratch, args, nodes)
        run_until_signalled(_serve(launch, scratch, f"{manifest.name} from {engine}"))
    return 0


def _check_numbers(args: argparse.Namespace) -> None:
    for name in ("threads", "exit_timeout", "log_verbose"):
        # Triton's own have 32 bits.
        if not 0 <= (value := getattr(args, name)) < 2**31:
            raise UsageError(f"--{name.replace('_', '-')} is {value}; expected 0 to {2**31 - 1}")
    if args.start_timeout is not None and not args.start_timeout > 0:
        raise UsageError(f"--start-timeout is {args.start_timeout:g}; expected more than 0")


def _check_nodes(args: argparse.Namespace, ranks: int) -> None:
    if args.nodes < 1 or (args.join and args.nodes == 1):
        raise UsageError(
            f"--nodes is {args.nodes}; expected the number of machines that share the engine's "
            f"{ranks} ranks, the same on each"
        )
    if ranks % args.nodes:
        fitting = [str(each) for each in range(2, ranks + 1) if ranks % each == 0]
        raise UsageError(
            f"--nodes {args.nodes}: the engine has {ranks} ranks, which so many machines cannot "
            f"share equally; use --nodes {' or '.join(fitting) or '1'}"
        )


def _nodes(engine: Path, scratch: ScratchDir, args: argparse.Namespace) -> Nodes | None:
    if args.nodes == 1:
        return None
    if args.join is None:
        require_port_free("", args.nodes_port, "--nodes-port")
        leader, port = None, args.nodes_port
    else:
        leader, port = leader_of(args.join)
    return Nodes(args.nodes, manifest_hash(engine), scratch.directory / "nodes", port, leader)


def leader_of(text: str) -> tuple[str, int]:
    """What `--join` names: HOST, HOST:PORT, an IPv6 address, or one in brackets and a port."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]") or _is_ipv6(text):
        host, port = text, str(PORT)
    in_brackets = host.startswith("[") and host.endswith("]")
    name = host[1:-1] if in_brackets else host
    is_host = _is_ipv6(name) if in_brackets or ":" in name else name
    number = int(port) if port.isascii() and port.isdigit() else 0
    if not is_host or not 0 < number < 65536:
        raise UsageError(
            f"--join is {text!r}; expected HOST, HOST:PORT, an IPv6 address, or [IPv6]:PORT"
        )
    return name, number


def _is_ipv6(text: str) -> bool:
    try:
        return bool(IPv6Address(text))
    except ValueError:
        return False


async def _serve(launch: Launch, scratch: ScratchDir, what: str) -> None:
    # Python stubs of a killed rank lose their parent; reap them here.
    adopt_orphans()
    try:
        await _serve_until_end(launch, scratch, what)
    finally:
        await end_adopted()


def say(line: str) -> None:
    """Print it, if that is possible: a full disk with the log on it is no reason not to serve."""
    try:
        print(line, flush=True)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


async def _serve_until_end(launch: Launch, scratch: ScratchDir, what: str) -> None:
    options, before = launch.options, backend_directories()
    if launch.nodes and launch.nodes.leader:
        return await follow(launch.nodes, launch.environment, launch.deadline, say)

    async def is_ready() -> bool:
        scratch.own_new(before)
        return await answers_ok(options.ready_url)

    async with AsyncExitStack() as stack:
        # Own new directories even of a server that ends between two polls.
        owning = stack.enter_context(ExitStack())
        owning.callback(scratch.own_new, before)
        if launch.nodes:
            await stack.enter_async_context(leading(launch.nodes, launch.deadline, say))
        server = await stack.enter_async_context(launched(launch, is_ready, on_line=say))
        owning.close()
        ranks = f" on {launch.ranks} ranks" if launch.ranks > 1 else ""
        say(
            f"Triton serves {what}{ranks}: HTTP {options.http_port}, gRPC {options.grpc_port}, "
            f"metrics {options.metrics_port}; Ctrl-C ends it"
        )
        raise await server.ended()
