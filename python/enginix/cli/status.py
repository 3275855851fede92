"""`enginix status`: shows the models of a running gateway and their state."""

from __future__ import annotations

import argparse
import json

from enginix.catalog.load import Ports
from enginix.cli import environment
from enginix.cli.ask_gateway import ask
from enginix.cli.background import running
from enginix.cli.views.models import show

DEFAULT = f"http://127.0.0.1:{Ports().gateway}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url",
        help=f"a gateway's address (default: those `enginix start` started, else {DEFAULT})",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def run(args: argparse.Namespace) -> int:
    urls = [args.url] if args.url else [each.url for each in running(environment.cache_home())]
    answers = [ask(url, "GET", "/v1/status") for url in urls or [DEFAULT]]
    status = {**answers[0], "models": [model for each in answers for model in each["models"]]}
    if args.json:
        print(json.dumps(status, indent=2))
        return 0
    show(status["models"])
    return 0
