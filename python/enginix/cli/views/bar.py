"""A progress bar of a measurement on a terminal, and lines beside it; all on standard error."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn

from enginix.cli.views.console import Console


class Bar:
    """`between`: the columns between the bar and the elapsed time."""

    def __init__(self, *between: ProgressColumn, soft_wrap: bool = False) -> None:
        self._console = console = Console(stderr=True, highlight=False, soft_wrap=soft_wrap)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            *between,
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            # Redraw rarely: the bar runs in the process that measures.
            refresh_per_second=2,
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
