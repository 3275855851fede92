"""`enginix status`: shows the models of a running gateway and their state."""

from __future__ import annotations

import argparse
import json

from enginix.cli.ask_gateway import ask
from enginix.cli.running_gateway import add_url, find_gateway
from enginix.cli.views.models import show, show_configuration


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_url(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def run(args: argparse.Namespace) -> int:
    status = ask(find_gateway(args.url, tell=not args.json), "GET", "/v1/status")
    if args.json:
        print(json.dumps(status, indent=2))
        return 0
    show(status["models"])
    show_configuration(status.get("configuration"))
    return 0
