"""`enginix checkpoint`: inspect one, fetch one from the hub, quantize one, lock the catalogue's."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from enginix.accuracy.text import ENGLISH
from enginix.catalog.load import DIRECTORY
from enginix.quantize.calibration import LENGTH, SAMPLES
from enginix.quantize.formats import FORMATS, KV_CACHES
from enginix.quantize.session import SILENCE

LOCK = """\
Write the commit and the Nix hash of a model's files into its catalogue file,
or of all models.

revision  is the commit that main (or the pinned revision) is at the hub: one
          request per model. A build from it is always of the same files.
nar_hash  is what Nix needs to fetch the files in its sandbox and never twice.
          It is a hash of all the bytes, so all of them must be downloaded
          once: into enginix' cache, where a build finds them, or with
          --no-keep one file at a time, each removed when it is hashed.

--all goes on where an earlier run ended: what is locked is skipped, what fails
(gated, missing) is said and skipped, the exit status is 1 then. A file of the
catalogue is written when its model is done, whole or not at all.
"""

QUANTIZE = """\
Quantize a checkpoint with NVIDIA ModelOpt, in an environment that
`enginix setup --engine modelopt` makes. The result is whole or absent, is
checked tensor by tensor, and keeps tokenizer, chat template and sampling
settings of its source.

The model reads the calibration file's samples, so that ModelOpt sees how large
its activations get: one line of text each, or in a .jsonl file one object with
`text` or `messages` each. Use some hundred texts of the kind that the model
will be used for.

  enginix checkpoint quantize bf16/ --out nvfp4/ --calibration texts.txt
  enginix checkpoint quantize bf16/ --out nvfp4/ --calibration chats.jsonl \\
      --evaluate --max-drop 10

exit status: 0 done, 1 failed or worse than --max-drop, 2 for wrong usage
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    _add_inspect(
        actions.add_parser("inspect", help="check its files, and which engine kinds can run it")
    )
    _add_fetch(actions.add_parser("fetch", help="get one from the Hugging Face hub"))
    _add_quantize(
        actions.add_parser(
            "quantize",
            help="make a smaller one of it, with NVIDIA ModelOpt",
            description=QUANTIZE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    _add_lock(
        actions.add_parser(
            "lock",
            help="pin catalogue models: commit and Nix hash",
            description=LOCK,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )


def run(args: argparse.Namespace) -> int:
    # The hub's library takes a second to import, and `inspect` does not need it.
    module = importlib.import_module(f"enginix.cli.{args.module}")
    return int(getattr(module, args.function)(args))


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="DIR|REPO|NAME", help="a checkpoint, or a model")
    parser.add_argument(
        "--tp", type=int, default=1, metavar="N", help="GPUs to divide the model among"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    parser.set_defaults(module="checkpoint_inspect", function="run")


def _add_fetch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="REPO|NAME", help="org/name at the hub (@revision), or a model"
    )
    parser.add_argument("--revision", help="branch, tag or commit; default: the catalogue's")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: enginix' own cache")
    parser.add_argument(
        "--include", nargs="+", default=[], metavar="PATTERN", help="files to get, such as '*.md'"
    )
    parser.add_argument("--offline", action="store_true", help="only use what is on this machine")
    parser.add_argument(
        "--files-only",
        action="store_true",
        help="do not record the commit in DIR: a Nix hash is of the files alone",
    )
    parser.set_defaults(module="checkpoint_fetch", function="fetch")


def _add_quantize(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="DIR|REPO|NAME", help="an unquantized checkpoint")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new directory")
    parser.add_argument("--calibration", type=Path, required=True, metavar="FILE", help="samples")
    parser.add_argument(
        "--format",
        choices=list(FORMATS),
        default="nvfp4",
        metavar="FORMAT",
        help=f"of the weights: {', '.join(FORMATS)} (nvfp4)",
    )
    parser.add_argument(
        "--kv-cache", choices=list(KV_CACHES), default="fp8", help="of the KV cache (fp8)"
    )
    parser.add_argument(
        "--samples", type=int, default=SAMPLES, metavar="N", help=f"to use at most ({SAMPLES})"
    )
    parser.add_argument(
        "--length", type=int, default=LENGTH, metavar="N", help=f"tokens of each ({LENGTH})"
    )
    parser.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="where to run (auto)"
    )
    parser.add_argument("--env", metavar="NAME", help="an environment of `enginix setup --env`")
    parser.add_argument(
        "--silence-limit",
        type=float,
        default=SILENCE,
        metavar="SECONDS",
        help=f"end ModelOpt after that long without a sign of work ({SILENCE:g})",
    )
    _add_comparison(parser)
    parser.set_defaults(module="checkpoint_quantize", function="quantize_checkpoint")


def _add_comparison(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("comparison with the source")
    group.add_argument(
        "--evaluate",
        nargs="?",
        type=Path,
        const=ENGLISH,
        metavar="FILE",
        help="perplexity on that text, and greedy answers (without FILE: English prose)",
    )
    group.add_argument(
        "--max-drop",
        type=float,
        metavar="PERCENT",
        help="write nothing if the perplexity is higher by more",
    )


def _add_lock(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="a catalogue model")
    parser.add_argument("--all", action="store_true", help="every model that comes from the hub")
    parser.add_argument("--revision", help="lock this one; default: the pinned one, or main")
    parser.add_argument(
        "--update",
        action="store_true",
        help="lock main's current commit, even if another is pinned",
    )
    parser.add_argument(
        "--revisions", action="store_true", help="only the commits: no download, no nar_hash"
    )
    parser.add_argument(
        "--no-keep",
        action="store_true",
        help="delete each file once hashed: needs less space, but an interrupted model starts over",
    )
    parser.add_argument(
        "--catalog", type=Path, default=DIRECTORY, metavar="DIR", help="where the TOML files are"
    )
    parser.set_defaults(module="checkpoint_lock", function="lock")
