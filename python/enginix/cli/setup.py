"""`enginix setup`: makes the isolated environment an engine runs in."""

from __future__ import annotations

import argparse
from dataclasses import replace

from enginix.cli import environment
from enginix.cli.signals import terminated_as_exit
from enginix.cli.views.console import print_progress
from enginix.errors import UsageError
from enginix.runtimes.find import is_made, named, read_record, runtime_root
from enginix.runtimes.make import make_runtime
from enginix.runtimes.runtime import Recipe
from enginix.serve.servers import SERVERS, find_recipe, recipes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "kind", nargs="?", metavar="KIND", help=f"one of: {', '.join(sorted(recipes()))}"
    )
    engines = ", ".join(sorted({*SERVERS, *recipes()}))
    parser.add_argument("--engine", help=f"instead of KIND, what serves this engine: {engines}")
    parser.add_argument("--env", metavar="NAME", help="its name (default: the kind's)")
    parser.add_argument("--version", metavar="V", help="of the engine (default: the newest)")
    parser.add_argument(
        "--requirement",
        action="append",
        default=[],
        metavar="R",
        help="for pip, in addition to the engine: 'transformers<5', 'vllm[audio]', a wheel's path",
    )
    parser.add_argument("--force", action="store_true", help="remake an existing environment")
    parser.add_argument("--python", help="the Python to use (default: this one, if it has wheels)")


def run(args: argparse.Namespace) -> int:
    recipe, home = _recipe(args), environment.cache_home()
    root = runtime_root(recipe, home)
    exists = is_made(root) and not args.force
    with terminated_as_exit():
        runtime = make_runtime(
            recipe,
            home,
            print_progress,
            python=args.python,
            force=args.force,
        )
    record = read_record(runtime.root)
    what = f"{recipe.kind} {record.version}" if record else recipe.kind
    print(f"{what} is {'already there' if exists else 'ready'}: {runtime.root}")
    if recipe.separately and not args.requirement:
        print(recipe.separately)
    if recipe.name:
        print(f"to serve a model with it: enginix up ... --set MODEL.environment={recipe.name}")
    return 0


def _recipe(args: argparse.Namespace) -> Recipe:
    if bool(args.kind) == bool(args.engine):
        raise UsageError("expected KIND or --engine E, as in: enginix setup --engine vllm")
    recipe = find_recipe(args.kind or args.engine)
    if not recipe.program:
        if args.env or args.version or args.requirement:
            raise UsageError(
                f"the versions of {recipe.kind} are fixed, so it takes no --env, --version or "
                f"--requirement; those are for "
                f"{', '.join(sorted(kind for kind, one in recipes().items() if one.program))}"
            )
        return recipe
    engine = recipe.requirements[0]
    if args.version:
        engine = f"{engine.partition('==')[0]}=={args.version}"
    recipe = replace(recipe, requirements=(engine, *args.requirement))
    return named(recipe, args.env) if args.env else recipe
