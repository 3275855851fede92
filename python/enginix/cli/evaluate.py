"""`enginix evaluate`: how well an engine, or the model of a server, predicts a text."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from enginix.accuracy.bounds import read_bound
from enginix.accuracy.compare import Limits, compare, require_text
from enginix.accuracy.evaluation import COMPARISON, Evaluation, read_evaluation
from enginix.accuracy.measure import Options, Target, evaluate
from enginix.accuracy.text import Text, read_text
from enginix.cli import evaluate_tasks
from enginix.cli.bench import count
from enginix.cli.evaluate_engine import EngineTarget
from enginix.cli.evaluate_server import find_server, is_url
from enginix.cli.find_checkpoint import REPOSITORY
from enginix.cli.find_engine import find_directory
from enginix.cli.signals import terminated_as_exit
from enginix.cli.views.console import print_progress
from enginix.cli.views.evaluate import Progress, show_evaluation
from enginix.errors import BackendError, UsageError
from enginix.manifest import FILE_NAME, check_files, manifest_hash, read_manifest

ABOUT = """\
Measure how well a model predicts a text: its perplexity, the lower the better.
It is comparable between models with the same tokenizer, on the same text. A
checkpoint that lost its scales shows at once: its perplexity is many times that
of the model it was made from. With a baseline, also show how many of its greedy
answers are the same. The manifest of an engine records the result.
"""
EXAMPLES = """\
examples:
  enginix evaluate demo --require-accuracy 'ppl<=400'
  enginix evaluate http://HOST:8000 --json > bf16.json
  enginix evaluate http://HOST:8001 --baseline bf16.json --max-drop 5
  enginix evaluate http://HOST:8001 --tasks gsm8k --tasks-limit 100

exit status: 0 within the bounds, 1 worse or not measured, 2 for wrong usage
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = ABOUT
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "target", metavar="URL|DIR|NAME", help="a server of the OpenAI API, or an engine"
    )
    parser.add_argument("--model", help="which of the server's models (default: its only one)")
    parser.add_argument(
        "--text", type=Path, metavar="FILE", help="plain text (default: 2,400 words of English)"
    )
    parser.add_argument(
        "--context", type=count, metavar="N", help="tokens that are read at a time (512)"
    )
    parser.add_argument(
        "--stride", type=count, metavar="N", help="tokens between two such windows (256)"
    )
    parser.add_argument(
        "--require-accuracy", metavar="'ppl<=N'", help="fail if the perplexity is higher"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    group = parser.add_argument_group("comparison")
    group.add_argument(
        "--baseline", metavar="URL|FILE", help="another server, or the JSON of an evaluation"
    )
    group.add_argument("--baseline-model", metavar="MODEL", help="which of that server's models")
    group.add_argument(
        "--max-drop", type=_percent, metavar="PERCENT", help="fail if perplexity is higher by more"
    )
    group.add_argument(
        "--min-agreement", type=_percent, metavar="PERCENT", help="fail if fewer answers agree"
    )
    evaluate_tasks.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if args.tasks:
        return evaluate_tasks.run_server_tasks(args)
    for option in ("--tasks-dir", "--tasks-limit", "--tokenizer"):
        if getattr(args, option[2:].replace("-", "_")):
            raise UsageError(f"{option} is about --tasks; name some, or leave it out")
    bound = read_bound(args.require_accuracy) if args.require_accuracy else None
    limits = _limits(args)
    text = read_text(args.text)
    options = Options(args.context, args.stride)
    baseline = _baseline(args, text, options)
    with terminated_as_exit(), _target(args.target, args.model) as target:
        found = _evaluate(target, text, options)
        if isinstance(target, EngineTarget) and found.accuracy:
            print_progress(target.record(found.accuracy))
    comparison = compare(found, baseline) if baseline else None
    if args.json:
        document = asdict(found) | ({COMPARISON: asdict(comparison)} if comparison else {})
        print(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        show_evaluation(found, comparison)
    if found.accuracy is None and (bound or limits.min_agreement is None):
        raise BackendError(found.reason or "")
    if bound and found.accuracy:
        bound.require(found.accuracy, found.target)
    if comparison:
        limits.require(found, comparison)
    return 0


def _limits(args: argparse.Namespace) -> Limits:
    limits = Limits(args.max_drop, args.min_agreement)
    if not args.baseline and (limits != Limits() or args.baseline_model):
        raise UsageError(
            "--max-drop, --min-agreement and --baseline-model are about a --baseline; name one"
        )
    return limits


def _baseline(args: argparse.Namespace, text: Text, options: Options) -> Evaluation | None:
    word: str | None = args.baseline
    if word is None:
        return None
    if not is_url(word):
        if args.baseline_model:
            raise UsageError("--baseline-model chooses a server's model; a file has only one")
        baseline = read_evaluation(Path(word))
        require_text(baseline, text)
        return baseline
    with find_server(word, args.baseline_model, "--baseline-model") as server:
        return _evaluate(server, text, options)


def _evaluate(target: Target, text: Text, options: Options) -> Evaluation:
    with Progress(target.model) as progress:
        return evaluate(target, text, options, progress.advance)


@contextmanager
def _target(word: str, model: str | None) -> Iterator[Target]:
    if is_url(word):
        with find_server(word, model) as server:
            yield server
        return
    if model:
        raise UsageError("--model chooses a server's model; an engine has only one, leave it out")
    _refuse_checkpoint(word)
    directory = find_directory(word)
    manifest = read_manifest(directory)
    check_files(directory, manifest)
    yield EngineTarget(directory, manifest, engine_hash=manifest_hash(directory))


def _percent(text: str) -> float:
    with suppress(ValueError):
        if 0 <= (number := float(text)) < float("inf"):
            return number
    raise argparse.ArgumentTypeError(f"expected a number of percent, got {text!r}")


def _refuse_checkpoint(word: str) -> None:
    path = Path(word)
    is_repository = bool(REPOSITORY.fullmatch(word)) and not path.exists()
    if is_repository or (any(path.glob("*.safetensors")) and not (path / FILE_NAME).exists()):
        raise UsageError(
            f"{word} is not an engine; build one from a checkpoint first, with `enginix engine "
            f"build --checkpoint {word} --name NAME`, then evaluate NAME"
        )
