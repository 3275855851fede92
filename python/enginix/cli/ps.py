"""`enginix ps`: shows every gateway that runs from this home."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from enginix.cli.ask_gateway import ask
from enginix.cli.environment import cache_home
from enginix.cli.views.models import show
from enginix.errors import BackendError
from enginix.inventory.running import Supervisor, supervisors
from enginix.supervision import ServerStatus


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    running = supervisors(cache_home())
    models = [model for each in running for model in models_of(each)]
    if args.json:
        print(json.dumps({"models": models}, indent=2))
    elif not running:
        print("nothing runs; start with `enginix up demo`")
    else:
        show(models)
        for each in running:
            print(f"{each.profile}: {each.url}")
    return 0


def models_of(supervisor: Supervisor) -> list[dict[str, Any]]:
    """The models as the gateway reports them, or its supervisor if the gateway does not answer."""
    try:
        models = ask(supervisor.url, "GET", "/v1/status")["models"]
    except (BackendError, KeyError):
        models = [
            {
                "id": name,
                "kind": _engine(name, server),
                **asdict(server),
                "replicas": [
                    {"address": address, **asdict(one)} for address, one in server.replicas.items()
                ],
            }
            for name, server in supervisor.servers().items()
        ]
    return [{**model, "profile": supervisor.profile, "gateway": supervisor.url} for model in models]


def _engine(name: str, server: ServerStatus) -> str:
    """A server's log is called ENGINE-MODEL.log."""
    return Path(server.log).name.removesuffix(f"-{name}.log")
