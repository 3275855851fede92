"""`enginix restart [MODEL]`: replaces the servers of running models, one after the other."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from enginix.cli.ask_gateway import LOAD_SECONDS, ask
from enginix.cli.running_gateway import add_url, find_gateway


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        help="the name that clients use (default: all loaded models, one after the other)",
    )
    add_url(parser)


def run(args: argparse.Namespace) -> int:
    url = find_gateway(args.url)
    names = [args.model] if args.model else restartable(ask(url, "GET", "/v1/status")["models"])
    for name in names:
        body = {"model": name}
        answer = ask(url, "POST", "/v1/models/restart", body, seconds=LOAD_SECONDS)
        print(f"{answer['id']} was restarted", flush=True)
    if not names:
        print("no model is loaded that has a server here; see `enginix status`")
    return 0


def restartable(models: Sequence[dict[str, Any]]) -> list[str]:
    """Those that accept requests and have a server here, which has a log."""
    open_here = [one for one in models if one["presence"] == "open" and one.get("log")]
    # An adapter is restarted with its model.
    return [one["id"] for one in open_here if not one.get("parent")]
