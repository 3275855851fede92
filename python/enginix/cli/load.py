"""`enginix load MODEL`: start a model's server that was unloaded."""

from __future__ import annotations

import argparse

from enginix.cli.ask_gateway import LOAD_SECONDS, add_url, ask


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="as clients call it")
    parser.add_argument("--no-wait", action="store_true", help="do not wait until it serves")
    add_url(parser)


def run(args: argparse.Namespace) -> int:
    path = f"/v1/models/load?wait={'false' if args.no_wait else 'true'}"
    answer = ask(args.url, "POST", path, {"model": args.model}, seconds=LOAD_SECONDS)
    print(f"{answer['id']} is {answer['status']}")
    return 0
