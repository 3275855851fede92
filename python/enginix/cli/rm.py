"""`enginix rm NAME...`: remove engines, checkpoints and runtimes from this machine."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import ExitStack

from enginix.checkpoint.staging import INCOMPLETE
from enginix.cli.environment import cache_home
from enginix.cli.views.sizes import human_size
from enginix.errors import RemovalFailed, UsageError
from enginix.inventory.disk import remove
from enginix.inventory.items import Item, take_inventory
from enginix.inventory.names import find_item
from enginix.inventory.running import is_held
from enginix.owned import hold


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="NAME", help="as `enginix list` shows them")
    parser.add_argument(
        "--force",
        action="store_true",
        help="also what an engine was made from or is served by; never what runs",
    )


def run(args: argparse.Namespace) -> int:
    home = cache_home()
    items = take_inventory(home)
    chosen = list(
        {(item := find_item(word, items, home)).path: item for word in args.names}.values()
    )
    # All or nothing: of several, none is removed when one must stay.
    for item in chosen:
        _require_unused(item)
        if not args.force:
            _require_unneeded(item, chosen)
    with ExitStack() as stack:
        for item in chosen:
            _keep_others_out(item, stack)
        for item in chosen:
            remove(item.path)
            print(f"removed {item.what} {item.name}, {human_size(item.size_bytes)}", flush=True)
    return 0


def _require_unused(item: Item) -> None:
    if item.in_use_by:
        raise UsageError(f"{item.what} {item.name} is in use by {item.users}; stop it first")


def _require_unneeded(item: Item, chosen: Sequence[Item]) -> None:
    going = {other.name for other in chosen if other.what == "engine"}
    if staying := [name for name in item.needed_by if name not in going]:
        needs = "serves" if item.what == "runtime" else "is the source of"
        raise UsageError(
            f"{item.what} {item.name} {needs} {', '.join(staying)}; remove that too, or pass "
            "--force: it can be fetched again when it is needed"
        )


def _keep_others_out(item: Item, stack: ExitStack) -> None:
    """Until the stack ends, no other process builds, repairs or makes what is being removed."""
    if item.what == "checkpoint":
        if is_held(item.path / INCOMPLETE / "lock"):
            raise UsageError(f"checkpoint {item.name} is being fetched; wait for it, or end it")
        return
    is_engine = item.what == "engine"
    lock = item.path.parent / (f".{item.path.name}.lock" if is_engine else ".lock")
    was_there = lock.exists()
    try:
        descriptor = hold(lock, os.O_CREAT)
    except OSError as error:
        raise RemovalFailed(f"{item.path} is not removed: {lock}: {error.strerror}") from error
    if descriptor is None:
        busy = "a build of it runs" if is_engine else "an `enginix setup` runs"
        raise UsageError(f"{item.what} {item.name} is not removed: {busy}; wait for it, or end it")
    stack.callback(os.close, descriptor)
    if is_engine and not was_there:
        stack.callback(lock.unlink, missing_ok=True)
