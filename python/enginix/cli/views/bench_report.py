"""Shows the progress of a report's measurement: a bar on a terminal, and one line per level."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.progress import MofNCompleteColumn, TextColumn

from enginix.bench.answer import Answer
from enginix.bench.report.measure import Measured
from enginix.bench.report.tables import short
from enginix.cli.views.bar import Bar
from enginix.cli.views.console import Console


class ReportProgress(Bar):
    """On standard error."""

    def __init__(self) -> None:
        super().__init__(MofNCompleteColumn(), TextColumn("{task.fields[failed]}"), soft_wrap=True)
        self._task = self._bar.add_task("", total=None, failed="")
        self._title = ""
        self._failed = 0

    def level(self, title: str, requests: int) -> None:
        self._title, self._failed = title, 0
        self._bar.reset(self._task, total=requests, description=title, failed="")

    def answered(self, answer: Answer) -> None:
        self._failed += bool(answer.failure)
        failed = f"{self._failed} failed" if self._failed else ""
        self._bar.update(self._task, advance=1, failed=failed)

    def measured(self, servers: Sequence[Measured]) -> None:
        results = ", ".join(map(_result, servers))
        self._console.print(
            f"{self._title}: {results or 'no server answers any more'}", markup=False
        )


def _result(measured: Measured) -> str:
    failed = sum(bool(answer.failure) for answer in measured.answers)
    failures = f" ({failed} of {len(measured.answers)} requests failed)" if failed else ""
    return f"{measured.server.name} {short(measured.tokens_per_second)} tokens/s{failures}"


def show_summary(saturations: Sequence[str], page: str, *, interrupted: bool) -> None:
    console = Console(highlight=False, soft_wrap=True)
    if interrupted:
        console.print("[bold]interrupted: the report is incomplete, and says so[/]")
    for line in saturations:
        console.print(line, markup=False)
    console.print(f"report: {escape(page)}")
