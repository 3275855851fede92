"""`enginix unload MODEL`: stops a model's server once its running requests are done."""

from __future__ import annotations

import argparse

from enginix.cli.ask_gateway import LOAD_SECONDS, ask
from enginix.cli.running_gateway import add_url, find_gateway


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="the name that clients use")
    add_url(parser)


def run(args: argparse.Namespace) -> int:
    body = {"model": args.model}
    url = find_gateway(args.url)
    answer = ask(url, "POST", "/v1/models/unload", body, seconds=LOAD_SECONDS)
    print(f"{answer['id']} is {answer['status']}")
    return 0
