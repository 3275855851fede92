"""`enginix load MODEL`: starts a model's server, through a running gateway."""

from __future__ import annotations

import argparse
from pathlib import Path

from enginix.cli.ask_gateway import LOAD_SECONDS, ask
from enginix.cli.running_gateway import add_url, find_gateway
from enginix.errors import UsageError
from enginix.serve.servers import SERVERS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", nargs="?", help="the name that clients use, or a path")
    add(
        "--path",
        type=Path,
        metavar="PATH",
        help="its engine, checkpoint or .gguf, in a --model-root",
    )
    add("--engine", choices=list(SERVERS), help="the server (default: by the engine's kind)")
    add("--dtype", help="the type to compute unquantized weights in")
    add("--gpu-memory-utilization", type=float, metavar="SHARE", help="of each GPU's memory")
    add("--max-model-len", type=int, metavar="N", help="tokens of a prompt and its answer")
    add("--no-wait", action="store_true", help="do not wait until it is ready")
    add_url(parser)


def run(args: argparse.Namespace) -> int:
    path = f"/v1/models/load?wait={'false' if args.no_wait else 'true'}"
    request = load_request(args)
    answer = ask(find_gateway(args.url), "POST", path, request, seconds=LOAD_SECONDS)
    print(f"{answer['id']} is {answer['status']}")
    return 0


def load_request(args: argparse.Namespace) -> dict[str, object]:
    if args.model is None and args.path is None:
        raise UsageError("no model was named: pass its name, or its directory with --path")
    name, path = args.model, args.path
    if path is None and (given := _as_path(name)):
        name, path = None, given
    request = {
        "model": name,
        # The supervisor may have another working directory.
        "model_path": str(path.absolute()) if path else None,
        "engine": args.engine,
        "dtype": args.dtype,
        "gpu_memory_utilization": args.gpu_memory_utilization,
        "max_model_len": args.max_model_len,
    }
    return {name: value for name, value in request.items() if value is not None}


def _as_path(word: str) -> Path | None:
    """A path that is here, written like one; a plain word is a name."""
    path = Path(word).expanduser()
    is_like_one = "/" in word or path.suffix == ".gguf"
    return path if is_like_one and path.exists() else None
