"""Shows a benchmark: progress on a terminal, and the results as a table, one column per level."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from rich.progress import TextColumn
from rich.table import Table

from enginix.bench.answer import Answer
from enginix.bench.compare import Ratio
from enginix.bench.load import Level, Limit
from enginix.bench.record import Record
from enginix.bench.summary import Spread, Summary, remarks
from enginix.cli.views.bar import Bar
from enginix.cli.views.console import Console

Cell = Callable[[Summary], str]


class Progress(Bar):
    """A bar on standard error if that is a terminal, and one line per finished level."""

    def __init__(self, level: Level, limit: Limit) -> None:
        super().__init__(TextColumn("{task.fields[status]}"))
        self._name = f"{'concurrency' if level.concurrency else 'rate'} {level.label}"
        self._limit = limit
        self._started = 0.0
        self._ok = self._failed = self._tokens = 0
        self._task = self._bar.add_task(
            f"{self._name}: warming up", total=limit.requests or limit.seconds, status=""
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        self._console.print(f"{self._name}: {self._status()}")

    def start(self) -> None:
        self._started = time.monotonic()
        self._bar.update(self._task, description=self._name)

    def advance(self, answer: Answer) -> None:
        self._failed += bool(answer.failure)
        self._ok += not answer.failure
        self._tokens += answer.tokens
        seconds = time.monotonic() - self._started
        done = self._ok + self._failed if self._limit.requests else seconds
        self._bar.update(self._task, completed=done, status=self._status())

    def _status(self) -> str:
        rate = self._tokens / max(time.monotonic() - self._started, 1e-9)
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{self._ok} ok{failed}, {rate:.0f} tokens/s"


def show_levels(record: Record, *, interrupted: bool) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"\n[bold]{record.model}[/] at {record.url}{_workload(record)}", markup=True)
    if interrupted:
        console.print("interrupted: the last level counts only the requests that had ended")
    table = Table(box=None, pad_edge=False, show_header=True, header_style="bold")
    table.add_column("concurrency" if record.levels[0].concurrency else "requests per second")
    for level in record.levels:
        table.add_column(level.label, justify="right")
    for name, cell in ROWS:
        table.add_row(name, *(cell(level) for level in record.levels))
    console.print(table)
    for level in record.levels:
        for remark in remarks(level):
            console.print(f"{level.label}: {remark}", markup=False)
    _show_errors(record.levels)


def _workload(record: Record) -> str:
    prompts = [level.prompt_tokens for level in record.levels if level.prompt_tokens is not None]
    mean = f"prompts of {sum(prompts) / len(prompts):.0f} tokens, " if prompts else ""
    return f": {mean}answers of at most {record.settings['max_tokens']}"


def _show_errors(levels: Sequence[Summary]) -> None:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for level in levels:
        for message, count in level.errors.items():
            console.print(f"{level.label}: {count} failed: {message}", markup=False)


def show_comparison(first: Record, second: Record, ratios: Mapping[str, Sequence[Ratio]]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for label, record in (("A", first), ("B", second)):
        console.print(f"{label}  {record.model} at {record.url}, {record.begun}", markup=False)
    if first.settings != second.settings:
        console.print("the two runs had different settings: see `settings` in both files")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("load", "", "A", "B", "B / A"):
        table.add_column(name, justify="left" if name in ("load", "") else "right")
    for level, rows in ratios.items():
        for ratio in rows:
            table.add_row(
                level, ratio.name, _short(ratio.first), _short(ratio.second), f"{ratio.times:.2f}"
            )
    console.print(table)


def _of(spread: Spread | None, name: str) -> str:
    return "-" if spread is None else _short(getattr(spread, name))


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


def _percentiles(
    title: str, take: Callable[[Summary], Spread | None], names: Sequence[str]
) -> list[tuple[str, Cell]]:
    def cell(name: str) -> Cell:
        return lambda level: _of(take(level), name)

    return [(f"{title} {name}", cell(name)) for name in names]


ROWS: list[tuple[str, Cell]] = [
    ("requests ok", lambda one: str(one.ok)),
    ("requests failed", lambda one: str(one.failed)),
    *_percentiles("first token, ms", lambda one: one.first_token, ("p50", "p90", "p99")),
    *_percentiles("inter-token, ms", lambda one: one.between_events, ("p50", "p99")),
    *_percentiles("per output token, ms", lambda one: one.per_token, ("p50", "p99")),
    *_percentiles("end to end, ms", lambda one: one.end_to_end, ("p50", "p99")),
    ("output tokens/s", lambda one: _short(one.output_tokens_per_second)),
    ("requests/s", lambda one: _short(one.requests_per_second)),
]
