"""`enginix list`: the engines, checkpoints and runtimes on this machine."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict

from enginix.cli.environment import cache_home
from enginix.cli.views.console import Console, print_table
from enginix.cli.views.sizes import human_size
from enginix.inventory.items import Item, take_inventory
from enginix.inventory.leftovers import find_leftovers

HEADINGS = ("name", "what", "size", "detail", "weights", "commit", "last use")
DAY = 24 * 3600


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    home = cache_home()
    items = take_inventory(home)
    if args.json:
        print(json.dumps([asdict(item) for item in items], indent=2, default=str))
        return 0
    if not items:
        print(f"{home} is empty; start with `enginix up demo` or `enginix pull NAME`")
    else:
        _show(items)
    if leftovers := find_leftovers(home):
        size = human_size(sum(each.size_bytes for each in leftovers))
        print(f"{size} can be freed: see `enginix gc --dry-run`")
    return 0


def _show(items: Sequence[Item]) -> None:
    now = time.time()
    console = Console(highlight=False)
    print_table(console, HEADINGS, (row(item, now) for item in items), right=["size"])
    total = human_size(sum(item.size_bytes for item in items))
    print(f"\n{total} in {len(items)} {'item' if len(items) == 1 else 'items'}")
    for item in items:
        for line in notes(item):
            print(f"{item.name}: {line}")


def row(item: Item, now: float) -> list[str]:
    return [
        item.name,
        item.what,
        human_size(item.size_bytes),
        item.detail,
        item.quantization or "",
        _commit(item),
        "now" if item.in_use_by else _ago(now - item.last_used),
    ]


def notes(item: Item) -> list[str]:
    """Sentences on its relation to other items and to running servers."""
    lines = []
    if item.made_from:
        lines.append(f"made from {item.made_from}")
    if item.needed_by:
        relation = "serves" if item.what == "runtime" else "is the source of"
        lines.append(f"{relation} {', '.join(item.needed_by)}")
    if item.in_use_by:
        lines.append(f"in use by {item.users}")
    if item.note:
        lines.append(f"not usable: {item.note}")
    return lines


def _commit(item: Item) -> str:
    if item.revision is None:
        return ""
    return item.revision[:8] + (", pinned" if item.pinned else "")


def _ago(seconds: float) -> str:
    days = max(round(seconds / DAY), 0)
    return {0: "today", 1: "yesterday"}.get(days, f"{days} days ago")
