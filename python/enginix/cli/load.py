"""`enginix load MODEL`: have a running gateway's supervisor start a model's server."""

from __future__ import annotations

import argparse
from pathlib import Path

from enginix.cli.ask_gateway import LOAD_SECONDS, add_url, ask
from enginix.errors import UsageError
from enginix.serve.servers import SERVERS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", nargs="?", help="as clients call it, or are to call it")
    add("--path", type=Path, metavar="DIR", help="its engine or checkpoint, under a --model-root")
    add("--engine", choices=list(SERVERS), help="who serves it (default: as the engine says)")
    add("--dtype", help="what weights that are not quantized are computed in")
    add("--gpu-memory-utilization", type=float, metavar="SHARE", help="of each GPU's memory")
    add("--max-model-len", type=int, metavar="N", help="tokens of prompt and answer together")
    add("--no-wait", action="store_true", help="do not wait until it serves")
    add_url(parser)


def run(args: argparse.Namespace) -> int:
    path = f"/v1/models/load?wait={'false' if args.no_wait else 'true'}"
    answer = ask(args.url, "POST", path, wish_of(args), seconds=LOAD_SECONDS)
    print(f"{answer['id']} is {answer['status']}")
    return 0


def wish_of(args: argparse.Namespace) -> dict[str, object]:
    if args.model is None and args.path is None:
        raise UsageError("no model was named: pass its name, or its directory with --path")
    wish = {
        "model": args.model,
        # Where the supervisor runs, this directory may be another.
        "model_path": str(args.path.absolute()) if args.path else None,
        "engine": args.engine,
        "dtype": args.dtype,
        "gpu_memory_utilization": args.gpu_memory_utilization,
        "max_model_len": args.max_model_len,
    }
    return {name: value for name, value in wish.items() if value is not None}
