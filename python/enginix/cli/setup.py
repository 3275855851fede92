"""`enginix setup KIND`: make the isolated environment an engine kind runs in."""

from __future__ import annotations

import argparse
import sys

from enginix.cli import environment
from enginix.cli.endings import terminated_as_exit
from enginix.runtimes.find import find_recipe, is_made, runtime_root
from enginix.runtimes.make import make_runtime
from enginix.runtimes.runtime import RECIPES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="KIND", help=f"one of: {', '.join(sorted(RECIPES))}")
    parser.add_argument("--force", action="store_true", help="make it anew if it is there")
    parser.add_argument("--python", default=sys.executable, help="its Python (default: this one)")


def run(args: argparse.Namespace) -> int:
    recipe, home = find_recipe(args.kind), environment.cache_home()
    there = is_made(runtime_root(recipe, home)) and not args.force
    with terminated_as_exit():
        runtime = make_runtime(
            recipe,
            home,
            lambda line: print(line, file=sys.stderr),
            python=args.python,
            force=args.force,
        )
    print(f"{runtime.kind} is {'there already' if there else 'ready'}: {runtime.root}")
    return 0
