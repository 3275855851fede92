"""Tables fit the terminal they are shown on, and are never cut."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from enginix.catalog.load import load_catalog
from enginix.cli.views.console import Console, print_table
from tests.cli.terminal import terminal

HEADINGS = ("name", "size", "detail")
ROWS = [("a-rather-long-name", "1 GB", "[bold] :smile:"), ("b", "20 GB", "")]


def shown(width: int, *, is_terminal: bool = True) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=is_terminal, color_system=None)
    print_table(console, HEADINGS, ROWS, right=["size"])
    return out.getvalue().splitlines()


def test_a_row_is_a_line_where_there_is_room() -> None:
    assert shown(80) == [
        "name                 size  detail",
        "a-rather-long-name   1 GB  [bold] :smile:",
        "b                   20 GB",
    ]


def test_a_row_is_a_paragraph_on_a_narrow_terminal() -> None:
    lines = [line.rstrip() for line in shown(24)]
    assert lines == [
        *("a-rather-long-name", "  size 1 GB, detail", "  [bold] :smile:"),
        *("b", "  size 20 GB"),
    ]


def test_a_pipe_gets_a_line_per_row_whatever_its_width() -> None:
    assert shown(10, is_terminal=False) == shown(80)


@pytest.mark.parametrize("columns", [40, 80, 200])
async def test_the_catalogue_fits_its_terminal(tmp_path: Path, columns: int) -> None:
    argv = [sys.executable, "-m", "enginix", "models"]
    async with terminal(argv, os.environ, tmp_path, columns) as screen:
        await screen.ends()
        text = screen.text.replace("\x1b[1m", "").replace("\x1b[0m", "")
    lines = text.replace("\x1b[2m", "").splitlines()
    assert max(map(len, lines)) <= columns
    assert all(name in text for name in load_catalog())
