"""`enginix checkpoint quantize`: makes a smaller checkpoint of one, with NVIDIA ModelOpt."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from enginix.accuracy.compare import Limits
from enginix.accuracy.text import read_text
from enginix.checkpoint.inspect import Inspection
from enginix.cli import environment
from enginix.cli.checkpoint_inspect import describe
from enginix.cli.evaluate_checkpoint import Comparing
from enginix.cli.find_checkpoint import find_checkpoint_directory
from enginix.cli.signals import terminated_as_exit
from enginix.cli.views.evaluate import show_evaluation
from enginix.cli.views.stages import StageLines
from enginix.errors import UsageError
from enginix.quantize.calibration import read_calibration
from enginix.quantize.quantize import Request, quantize
from enginix.quantize.result import formats_of
from enginix.quantize.session import Environment
from enginix.runtimes.find import find_runtime, named
from enginix.runtimes.runtime import MODELOPT


def quantize_checkpoint(args: argparse.Namespace) -> int:
    request = _request(args)
    comparing = _comparing(args, request)
    lines = StageLines()
    try:
        with terminated_as_exit():
            source, found = quantize(request, _environment(args), lines, comparing)
    finally:
        lines.clear()
    if comparing and comparing.found:
        show_evaluation(comparing.found, comparing.comparison)
    print("\n".join(_summary(source, found, request.out)))
    return 0


def _request(args: argparse.Namespace) -> Request:
    if args.length < 1:
        raise UsageError(f"--length: expected 1 or more, got {args.length}")
    if not args.silence_limit > 0:
        raise UsageError(f"--silence-limit: expected more than 0, got {args.silence_limit:g}")
    return Request(
        source=find_checkpoint_directory(args.source),
        out=args.out,
        format=args.format,
        kv_cache=args.kv_cache,
        calibration=read_calibration(args.calibration, args.samples),
        length=args.length,
        device=args.device,
    )


def _comparing(args: argparse.Namespace, request: Request) -> Comparing | None:
    if args.evaluate is None:
        if args.max_drop is not None:
            raise UsageError("--max-drop is about --evaluate; add it, or leave it out")
        return None
    if args.max_drop is not None and not 0 <= args.max_drop < float("inf"):
        raise UsageError(f"--max-drop: expected a number of percent, got {args.max_drop:g}")
    text = read_text(args.evaluate)
    return Comparing(request.source, request.out, text, Limits(args.max_drop))


def _environment(args: argparse.Namespace) -> Environment:
    if args.env:
        runtime = find_runtime(named(MODELOPT, args.env), environment.cache_home())
    else:
        override = environment.runtime_override(MODELOPT.kind)
        runtime = find_runtime(MODELOPT, environment.cache_home(), override)
    out: Path = args.out.absolute()
    return Environment(
        python=runtime.python,
        # Everything is on this disk: nothing may be fetched.
        variables={**environment.for_child(), "HF_HUB_OFFLINE": "1"},
        log=out.with_name(f".{out.name}.log"),
        silence=args.silence_limit,
    )


def _summary(source: Inspection, found: Inspection, out: Path) -> Iterator[str]:
    yield f"{out}: {describe(found.checkpoint)}; before: {describe(source.checkpoint)}"
    for algo, count, roles in formats_of(found):
        yield f"  {algo:<14} {count} layers: {', '.join(roles)}"
    excluded = found.checkpoint.quantization.exclude
    yield f"  {'excluded':<14} {', '.join(excluded) or 'nothing'}"
    yield f"  {'usable for':<14} {', '.join(found.usable_by) or 'no engine kind'}"
    for note in found.notes:
        yield f"  note: {note}"
    yield f"build an engine: enginix engine build --checkpoint {out} --name NAME"
