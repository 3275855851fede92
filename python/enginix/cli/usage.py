"""`enginix usage`: sums up what named keys have used, from the log in enginix' directory."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from enginix.cli import environment
from enginix.cli.views.console import Console, print_table
from enginix.errors import UsageError
from enginix.gateway.keys.usage import read_usage, usage_directory

COLUMNS = ("key", "model", "requests", "failed", "prompt tokens", "completion tokens")
LONGEST_DAYS = 36_500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Show what named API keys have used of which model, up to the last minute. The gateways of "
        "this user write it; the oldest of it is dropped beyond 64 MB."
    )
    parser.add_argument(
        "--days", type=float, metavar="N", help="only of the last N days (0.5 is twelve hours)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def run(args: argparse.Namespace) -> int:
    since = None
    if args.days is not None:
        if not 0 < args.days <= LONGEST_DAYS:
            raise UsageError(f"--days is {args.days:g}; expected more than 0, at most 36500")
        since = datetime.now(UTC) - timedelta(days=args.days)
    directory = usage_directory(environment.cache_home())
    usage, oldest = read_usage(directory, since)
    if args.json:
        rows = [
            {"key": key, "model": model, **asdict(used)} for (key, model), used in usage.items()
        ]
        print(
            json.dumps({"since": oldest.isoformat() if oldest else None, "usage": rows}, indent=2)
        )
    elif not usage:
        print(
            "nothing was used with a named key; gateways with --api-keys FILE.toml write it to "
            f"{directory}"
        )
    else:
        cells = (
            (key, model, *(f"{count:,}" for count in asdict(used).values()))
            for (key, model), used in sorted(usage.items())
        )
        print_table(Console(highlight=False), COLUMNS, cells, COLUMNS[2:])
        print(f"since {oldest:%Y-%m-%d %H:%M} UTC")
    return 0
