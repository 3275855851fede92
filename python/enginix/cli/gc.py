"""`enginix gc`: remove what interrupted downloads, builds and set-ups left behind."""

from __future__ import annotations

import argparse
import json

from enginix.cli.environment import cache_home
from enginix.cli.views.sizes import human_size
from enginix.inventory.leftovers import Leftover, find_leftovers, remove_leftover


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def run(args: argparse.Namespace) -> int:
    found = find_leftovers(cache_home())
    gone = found if args.dry_run else [each for each in found if remove_leftover(each)]
    size = sum(each.size_bytes for each in gone)
    if args.json:
        print(json.dumps({"removed": not args.dry_run, "bytes": size, "paths": _rows(gone)}))
        return 0
    for each in gone:
        print(f"{human_size(each.size_bytes):>10}  {each.path}: {each.why}")
    if not gone:
        print("nothing to remove; `enginix list` shows what is kept, `enginix rm` removes it")
    elif args.dry_run:
        print(f"{human_size(size)} would be removed; `enginix gc` does it")
    else:
        print(f"{human_size(size)} removed")
    return 0


def _rows(found: list[Leftover]) -> list[dict[str, object]]:
    return [{"path": str(each.path), "bytes": each.size_bytes, "why": each.why} for each in found]
