"""`enginix engine show`: an engine's manifest for people, or as JSON for scripts."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict

from rich.table import Table
from rich.text import Text

from enginix.cli.views.console import Console
from enginix.cli.views.evaluate import describe_accuracy
from enginix.errors import EnginixError
from enginix.manifest import Manifest, check_files, document, read_manifest


def show_engine(args: argparse.Namespace) -> int:
    manifest = read_manifest(args.directory)
    if args.json:
        print(json.dumps(document(manifest), indent=2, sort_keys=True, ensure_ascii=False))
        return 0
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows(manifest):
        # Text, because a name may hold what rich takes for its markup.
        table.add_row(name, Text(value))
    Console().print(table)
    try:
        check_files(args.directory, manifest)
    except EnginixError as error:
        print(f"\nNot as promised: {error}")
        return 1
    return 0


def rows(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """The rows to show: a name and a sentence each."""
    quantization, parallelism, limits = manifest.quantization, manifest.parallelism, manifest.limits
    yield "name", manifest.name
    yield "kind", manifest.kind
    yield "architecture", manifest.architecture
    yield "source", _source(manifest)
    yield "quantization", quantization.algo or "none"
    if quantization.kv_cache_algo:
        yield "KV cache", f"{quantization.kv_cache_algo} in the checkpoint"
    if parallelism.world_size > 1:
        yield "ranks", f"{parallelism.world_size} (tp {parallelism.tp}, pp {parallelism.pp})"
    yield "limits", f"{limits.max_batch_size} requests at a time, {limits.max_seq_len} tokens each"
    yield "reasoning", manifest.chat.reasoning or "-"
    yield "tools", manifest.chat.tools or "-"
    yield "built with", _built_with(manifest)
    yield "check", f"{len(manifest.check)} prompts with their answers"
    yield "accuracy", describe_accuracy(manifest.accuracy) if manifest.accuracy else "not measured"
    for name, size in manifest.files.items():
        yield "file", f"{name}, {size:,} bytes"


def _source(manifest: Manifest) -> str:
    source = manifest.source
    where = f"{source.repo} at {source.revision}" if source.repo else "a local directory"
    return f"{where}, {len(source.files)} files"


def _built_with(manifest: Manifest) -> str:
    libraries = manifest.recipe.libraries if manifest.recipe else {}
    found = {**asdict(manifest.built_with), **libraries}
    return ", ".join(f"{name} {value}" for name, value in found.items() if value is not None)
