"""`enginix status`: what a running gateway serves, and how it is."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from rich.console import Console
from rich.table import Table

from enginix.cli.ask_gateway import add_url, ask

COLUMNS = (
    "model",
    "engine",
    "status",
    "since",
    "pid",
    "running",
    "queued",
    "last token",
    "restarts",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_url(parser)
    parser.add_argument("--json", action="store_true", help="as it comes, for programs")


def run(args: argparse.Namespace) -> int:
    status = ask(args.url, "GET", "/v1/status")
    if args.json:
        print(json.dumps(status, indent=2))
        return 0
    table = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, no_wrap=True)
    for model in status["models"]:
        table.add_row(*row(model, time.time()))
    Console(highlight=False, soft_wrap=True).print(table)
    for model in status["models"]:
        if model["status"] in ("loading", "error"):
            why = model.get("progress") or model.get("last_error") or model["reason"]
            print(f"{model['id']}: {why}")
    return 0


def row(model: dict[str, Any], now: float) -> list[str]:
    since = model.get("since")
    token = model["last_token_seconds"]
    return [
        model["id"],
        model["kind"],
        model["status"],
        "" if since is None else duration(now - since),
        str(model.get("pid") or ""),
        str(model["running"]),
        str(model["queued"]),
        "never" if token is None else f"{duration(token)} ago",
        str(model.get("restarts", "")),
    ]


def duration(seconds: float) -> str:
    """In the largest unit that leaves something to tell: 90 s, 45 min, 3 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"
