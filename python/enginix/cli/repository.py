"""`enginix repository render ENGINE --out DIR`: writes Triton's model repository."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from enginix.cli.find_engine import find_engine
from enginix.errors import UsageError
from enginix.manifest import check_files, read_manifest
from enginix.triton.server.repository import RenderOptions, render_repository


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="ACTION", required=True)
    render = commands.add_parser("render", help="fill the templates from an engine's manifest")
    render.add_argument("engine", metavar="ENGINE|NAME", help="an engine directory, or a model")
    render.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new directory")
    render.add_argument("--threads", type=int, default=0, help="for gguf engines (one per core)")


def run(args: argparse.Namespace) -> int:
    if args.threads < 0:
        raise UsageError(f"--threads is {args.threads}; expected 0 or more")
    engine = find_engine(args.engine)
    manifest = read_manifest(engine)
    check_files(engine, manifest)
    if args.out.exists():
        raise UsageError(f"--out {args.out} exists; name a new directory, or remove this one")
    try:
        render_repository(engine, manifest, args.out, RenderOptions(threads=args.threads))
    except OSError as error:
        shutil.rmtree(args.out, ignore_errors=True)
        raise UsageError(f"--out {args.out} cannot be written: {error.strerror}") from None
    print(f"{args.out}: {', '.join(sorted(path.name for path in args.out.iterdir()))}")
    return 0
