"""Shows an evaluation: progress on a terminal, and the result as a table."""

from __future__ import annotations

from rich.progress import MofNCompleteColumn
from rich.table import Table
from rich.text import Text

from enginix.accuracy.evaluation import Evaluation
from enginix.cli.views.bar import Bar
from enginix.cli.views.console import Console
from enginix.manifest import Accuracy


class Progress(Bar):
    """A bar on standard error if that is a terminal."""

    def __init__(self, model: str) -> None:
        super().__init__(MofNCompleteColumn())
        self._task = self._bar.add_task(f"reading with {model}", total=None)

    def advance(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total)


def show_evaluation(found: Evaluation) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    accuracy = found.accuracy
    for name, value in (
        ("model", f"{found.model} ({found.target})"),
        ("text", f"{found.text}, sha256 {found.text_sha256[:12]}..., {accuracy.tokens:,} tokens"),
        ("windows", f"{accuracy.context} tokens, {accuracy.stride} apart"),
        ("measured with", versions(accuracy)),
        ("perplexity", f"{accuracy.perplexity:,.2f}"),
    ):
        # Text, because a name may hold what rich takes for its markup.
        table.add_row(name, Text(value))
    Console().print(table)


def versions(accuracy: Accuracy) -> str:
    return ", ".join(f"{name} {version}" for name, version in accuracy.measured_with.items())
