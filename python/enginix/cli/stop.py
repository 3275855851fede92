"""`enginix stop [MODEL]`: end what `enginix start` began; nothing of it is left running."""

from __future__ import annotations

import argparse

from enginix.cli import environment
from enginix.cli.background import end, forget, running
from enginix.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="only this one (default: all)")


def run(args: argparse.Namespace) -> int:
    home = environment.cache_home()
    there = running(home)
    chosen = [started for started in there if args.model in (None, started.model, started.name)]
    if args.model and not chosen:
        known = ", ".join(started.model for started in there) or "nothing"
        raise UsageError(
            f"{args.model} was not begun by `enginix start`, or has ended; {known} runs"
        )
    if not chosen:
        print("nothing runs that `enginix start` began")
    for started in chosen:
        end(home, started)
        forget(home, started)
        print(f"{started.model} is stopped")
    return 0
