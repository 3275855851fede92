"""`enginix stop [MODEL]`: stops what `enginix start` started, child processes included."""

from __future__ import annotations

import argparse

from enginix.cli import environment
from enginix.cli.background import end, forget, running
from enginix.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="only this model (default: all)")


def run(args: argparse.Namespace) -> int:
    home = environment.cache_home()
    found = running(home)
    chosen = [started for started in found if args.model in (None, started.model, started.name)]
    if args.model and not chosen:
        known = ", ".join(started.model for started in found) or "nothing"
        raise UsageError(
            f"`enginix start` has not started {args.model}, or it has ended; running: {known}"
        )
    if not chosen:
        print("nothing that `enginix start` started is running")
    for started in chosen:
        end(home, started)
        forget(home, started)
        print(f"{started.model} is stopped")
    return 0
