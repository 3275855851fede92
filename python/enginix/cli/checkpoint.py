"""`enginix checkpoint`: inspect one, fetch one from the hub, lock one in the catalogue."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from enginix.catalog.load import DIRECTORY


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    _add_inspect(actions.add_parser("inspect", help="say whether it is sound, and who can run it"))
    _add_fetch(actions.add_parser("fetch", help="get one from the Hugging Face hub"))
    _add_lock(actions.add_parser("lock", help="pin a catalogue model's revision and Nix hash"))


def run(args: argparse.Namespace) -> int:
    # The hub's library takes a second to import, and `inspect` does not need it.
    module = importlib.import_module(f"enginix.cli.{args.module}")
    return int(getattr(module, args.function)(args))


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="DIR|NAME", help="a checkpoint, or a catalogue model")
    parser.add_argument(
        "--tp", type=int, default=1, metavar="N", help="GPUs to divide the model among"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    parser.set_defaults(module="checkpoint_inspect", function="run")


def _add_fetch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="REPO|NAME", help="org/name at the hub, or a model")
    parser.add_argument("--revision", help="branch, tag or commit; default: the catalogue's")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: enginix' own cache")
    parser.add_argument(
        "--include", nargs="+", default=[], metavar="PATTERN", help="files to get, such as '*.md'"
    )
    parser.add_argument("--offline", action="store_true", help="only use what is on this machine")
    parser.set_defaults(module="checkpoint_fetch", function="fetch")


def _add_lock(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a catalogue model")
    parser.add_argument("--revision", help="lock this one; default: the pinned one, or main")
    parser.add_argument(
        "--catalog", type=Path, default=DIRECTORY, metavar="DIR", help="where the TOML files are"
    )
    parser.set_defaults(module="checkpoint_fetch", function="lock")
