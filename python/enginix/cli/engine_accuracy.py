"""`enginix engine build --require-accuracy`: an engine that predicts a text badly is not built."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from enginix.accuracy.bounds import read_bound
from enginix.accuracy.measure import measure
from enginix.accuracy.text import read_text
from enginix.cli import engine_gguf
from enginix.cli.evaluate_engine import EngineTarget
from enginix.engine.build import Build
from enginix.engine.stages import Stages
from enginix.errors import UsageError
from enginix.manifest import Manifest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("accuracy")
    group.add_argument(
        "--require-accuracy",
        metavar="'ppl<=N'",
        help="refuse an engine whose perplexity is higher (see `enginix evaluate --help`)",
    )
    group.add_argument(
        "--accuracy-text", type=Path, metavar="FILE", help="on that text (default: English prose)"
    )


def requiring(build: Build, kind: str, args: argparse.Namespace) -> Build:
    """`build`, which raises AccuracyLost and leaves nothing if its engine is beyond the bound."""
    if args.require_accuracy is None:
        if args.accuracy_text:
            raise UsageError("--accuracy-text is about --require-accuracy; add it, or leave it out")
        return build
    bound, text = read_bound(args.require_accuracy), read_text(args.accuracy_text)
    if kind != engine_gguf.KIND:
        raise UsageError(
            f"--require-accuracy: an engine of the kind {kind} cannot be run by itself; build it "
            "without, serve it, and use `enginix evaluate URL --require-accuracy`"
        )
    # Report a missing runtime before building for it.
    engine_gguf.generator()

    def measured(directory: Path, stages: Stages) -> Manifest:
        manifest = build(directory, stages)
        with stages.run("accuracy") as stage:
            target = EngineTarget(directory, manifest)
            # Not the directory, which is another's in the end, or nobody's.
            target.name = f"the engine {manifest.name}"
            accuracy = measure(target, text, lambda _, done, total: stage.progress(done / total))
            bound.require(accuracy, target.name)
            stage.summary = (
                f"perplexity {accuracy.perplexity:,.2f} on {text.name}, at most "
                f"{bound.perplexity:g} required"
            )
        return replace(manifest, accuracy=accuracy)

    return measured
