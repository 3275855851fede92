"""`enginix pull NAME...`: downloads models' checkpoints into enginix' own directory."""

from __future__ import annotations

import argparse
from pathlib import Path

from enginix.catalog.load import find_model
from enginix.checkpoint.locate import fetched_directory
from enginix.cli.checkpoint_fetch import (
    fetch_listing,
    find_repository,
    list_repository,
    warn_if_unpinned,
)
from enginix.cli.environment import cache_home


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names",
        nargs="+",
        metavar="NAME",
        help="a model of the catalogue, or org/name (@revision) at the hub",
    )


def run(args: argparse.Namespace) -> int:
    for name in args.names:
        if "/" not in name and (shipped := find_model(name).source.directory):
            print(f"{name} is shipped with enginix: {shipped}")
            continue
        print(pull(name), flush=True)
    return 0


def pull(name: str) -> Path:
    """The directory of the checkpoint, once it is complete."""
    repo, revision = find_repository(name)
    listing = list_repository(repo, revision)
    warn_if_unpinned(name, revision, listing, is_model="/" not in name)
    directory = fetched_directory(cache_home(), repo, listing.revision)
    fetch_listing(listing, directory, with_origin=True)
    return directory
