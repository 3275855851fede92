"""Writes what a `render` command has made: to a file, or to standard output."""

from __future__ import annotations

import argparse
from pathlib import Path

from enginix.errors import UsageError
from enginix.records import replace_text


def add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: standard output")


def write_or_print(text: str, out: Path | None, next_step: str) -> None:
    """`next_step`: what to do with the file. UsageError if it cannot be written."""
    if out is None:
        print(text, end="")
        return
    try:
        if out.exists() and not out.is_file():
            # A pipe, as shells make them.
            out.write_text(text, encoding="utf-8")
        else:
            replace_text(out.resolve(), text)
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written: {error.strerror}") from None
    print(f"{out} is written; {next_step}")
