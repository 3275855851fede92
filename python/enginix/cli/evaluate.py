"""`enginix evaluate`: how well an engine, or the model of a server, predicts a text."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from enginix.accuracy.bounds import read_bound
from enginix.accuracy.measure import Options, Target, measure
from enginix.accuracy.server import ServerTarget
from enginix.accuracy.text import read_text
from enginix.bench.target import BARE
from enginix.bench.target import Target as Address
from enginix.cli.api_keys import key_for_server
from enginix.cli.bench import count, only_model
from enginix.cli.evaluate_engine import EngineTarget
from enginix.cli.find_engine import find_directory
from enginix.cli.views.evaluate import Progress, show_evaluation
from enginix.errors import UsageError
from enginix.manifest import FILE_NAME, check_files, read_manifest

ABOUT = """\
Measure how well a model predicts a text: its perplexity, the lower the better.
It is comparable between models with the same tokenizer, on the same text. A
checkpoint that lost its scales shows at once: its perplexity is many times that
of the model it was made from.
"""
EXAMPLES = """\
examples:
  enginix evaluate demo
  enginix evaluate demo --text notes.txt --json
  enginix evaluate http://HOST:8000/v1 --require-accuracy 'ppl<=12'

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
    add_text_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def add_text_options(parser: argparse._ActionsContainer, text: str = "--text") -> None:
    parser.add_argument(
        text, dest="text", type=Path, metavar="FILE", help="plain text (default: 2,400 words)"
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


def run(args: argparse.Namespace) -> int:
    bound = read_bound(args.require_accuracy) if args.require_accuracy else None
    text = read_text(args.text)
    with _target(args) as target, Progress(target.model) as progress:
        found = measure(target, text, Options(args.context, args.stride), progress.advance)
    if args.json:
        print(json.dumps(asdict(found), indent=2, ensure_ascii=False))
    else:
        show_evaluation(found)
    if bound:
        bound.require(found.accuracy, found.target)
    return 0


@contextmanager
def _target(args: argparse.Namespace) -> Iterator[Target]:
    word: str = args.target
    if "://" in word or BARE.match(word):
        with _server(word, args.model) as server:
            yield server
        return
    if args.model:
        raise UsageError("--model chooses a server's model; an engine has only one, leave it out")
    _refuse_checkpoint(Path(word))
    directory = find_directory(word)
    manifest = read_manifest(directory)
    check_files(directory, manifest)
    yield EngineTarget(directory, manifest)


def _server(url: str, model: str | None) -> ServerTarget:
    key = key_for_server(url)
    address = Address(url, key)
    return ServerTarget(address.url, model or only_model(address.models(), url), key)


def _refuse_checkpoint(path: Path) -> None:
    if any(path.glob("*.safetensors")) and not (path / FILE_NAME).exists():
        raise UsageError(
            f"{path} is a checkpoint, which nothing runs yet; build it first with `enginix engine "
            f"build --checkpoint {path} --name NAME`, then evaluate NAME"
        )
