"""The console of all commands: tables that fit the terminal, progress lines, closed pipes."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console as RichConsole
from rich.padding import Padding
from rich.text import Text

GAP = "  "


class Console(RichConsole):
    """`main` ends every command on a closed pipe in the same way, so rich must not do it."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def print_progress(line: str) -> None:
    """Print to standard error; a command's result goes to standard output."""
    print(line, file=sys.stderr, flush=True)


def print_table(
    console: Console,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Collection[str] = (),
) -> None:
    """A line per row, with the columns of `right` aligned to the right.

    On a terminal that is too narrow for that, each row is a paragraph; nothing is ever cut.
    """
    table = [headings, *rows]
    widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    if console.is_terminal and sum(widths) + len(GAP) * (len(widths) - 1) > console.width:
        for first, *cells in table[1:]:
            named = [
                f"{name} {cell}" for name, cell in zip(headings[1:], cells, strict=True) if cell
            ]
            # Text, because rich would read markup in a name.
            console.print(Text(first, style="bold"))
            console.print(Padding(Text(", ".join(named)), (0, 0, 0, len(GAP))))
        return
    for place, row in enumerate(table):
        padding = [" " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
        cells = [
            space + cell if name in right else cell + space
            for name, cell, space in zip(headings, row, padding, strict=True)
        ]
        style = "" if place else "bold"
        console.print(Text(GAP.join(cells).rstrip(), style=style), soft_wrap=True)
