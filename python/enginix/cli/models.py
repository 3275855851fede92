"""`enginix models`: the catalogue as a table, or as JSON for scripts."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from enginix.catalog.load import ModelSpec, SourceSpec, load_catalog
from enginix.cli.find_engine import find_engine
from enginix.cli.views.console import Console, print_table
from enginix.cli.views.evaluate import describe_accuracy
from enginix.errors import EngineError
from enginix.manifest import Accuracy, read_manifest

HEADINGS = (
    "model",
    "kind",
    "pinned",
    "GPUs",
    "VRAM/GPU",
    "batch",
    "context",
    "reasoning",
    "tools",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    catalog = load_catalog()
    if args.json:
        rows = [
            asdict(spec) | {"pinned": spec.source.pinned, "accuracy": _measured_json(spec)}
            for spec in catalog.values()
        ]
        print(json.dumps(rows, indent=2, default=str))
        return 0
    console = Console(highlight=False)
    print_table(console, HEADINGS, (row for spec in catalog.values() for row in _rows(spec)))
    if note := _unpinned_note(catalog.values()):
        console.print(f"\n{note}")
    for spec in catalog.values():
        if accuracy := _measured(spec):
            console.print(f"\n{spec.name}, built here: {describe_accuracy(accuracy)}", markup=False)
    for status, names in _by_status(catalog.values()).items():
        console.print(f"\n{', '.join(names)}: {status}", style="dim")
    return 0


def _measured(spec: ModelSpec) -> Accuracy | None:
    """What its engine on this machine records, if there is one."""
    try:
        return read_manifest(find_engine(spec.name)).accuracy
    except EngineError:
        return None


def _measured_json(spec: ModelSpec) -> dict[str, Any] | None:
    accuracy = _measured(spec)
    return asdict(accuracy) if accuracy else None


def _by_status(specs: Iterable[ModelSpec]) -> dict[str, list[str]]:
    """Status -> the models that have it."""
    found: dict[str, list[str]] = {}
    for spec in specs:
        found.setdefault(spec.status, []).append(spec.name)
    return found


def pinned(source: SourceSpec) -> str:
    if source.directory is not None:
        return "shipped"
    if not source.pinned:
        return "no"
    assert source.revision is not None
    return source.revision[:8] + (" + hash" if source.nar_hash else "")


def _unpinned_note(specs: Iterable[ModelSpec]) -> str | None:
    if not (unpinned := [spec.name for spec in specs if not spec.source.pinned]):
        return None
    return (
        f"{len(unpinned)} models are not pinned: a build uses the commit of main at the time of "
        "the fetch, and records it; pin them with `enginix checkpoint lock --all`"
    )


def _rows(spec: ModelSpec) -> Iterator[list[str]]:
    for variant in sorted(spec.variants.values(), key=lambda item: item.tensor_parallel):
        memory = variant.gpu_memory_gb
        yield [
            spec.name,
            spec.kind,
            pinned(spec.source),
            str(variant.tensor_parallel) if memory else "none",
            f"{memory:g} GB" if memory else "-",
            str(variant.max_batch_size),
            str(variant.max_seq_len),
            spec.chat.reasoning or "-",
            spec.chat.tools or "-",
        ]
