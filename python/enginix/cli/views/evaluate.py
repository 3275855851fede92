"""Shows an evaluation: progress on a terminal, and the result as a table."""

from __future__ import annotations

from collections.abc import Iterator

from rich.progress import MofNCompleteColumn
from rich.table import Table
from rich.text import Text

from enginix.accuracy.compare import Comparison
from enginix.accuracy.evaluation import Evaluation
from enginix.cli.views.bar import Bar
from enginix.cli.views.console import Console
from enginix.manifest import Accuracy


class Progress(Bar):
    """A bar on standard error if that is a terminal."""

    def __init__(self, model: str) -> None:
        super().__init__(MofNCompleteColumn())
        self._model = model
        self._task = self._bar.add_task(f"{model}: starting", total=None)

    def advance(self, what: str, done: int, total: int) -> None:
        self._bar.update(
            self._task, description=f"{self._model}: {what}", completed=done, total=total
        )


def show_evaluation(found: Evaluation, comparison: Comparison | None) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows(found, comparison):
        # Text, because a name may hold what rich takes for its markup.
        table.add_row(name, Text(value))
    Console().print(table)


def rows(found: Evaluation, comparison: Comparison | None) -> Iterator[tuple[str, str]]:
    accuracy = found.accuracy
    yield "model", f"{found.model} ({found.target})"
    yield "text", f"{found.text}, sha256 {found.text_sha256[:12]}..."
    yield "windows", f"{found.context} tokens, {found.stride} apart"
    if accuracy:
        yield "measured with", versions(accuracy)
        yield "perplexity", f"{accuracy.perplexity:,.2f} ({accuracy.tokens:,} tokens)"
    else:
        yield "perplexity", "not measured"
    if comparison is None:
        return
    yield "baseline", comparison.baseline
    if (ratio := comparison.perplexity_ratio) is not None:
        yield "ratio", f"{ratio:.3f} of the baseline's perplexity ({100 * ratio - 100:+.1f} %)"
    yield "agreement", f"{100 * comparison.agreement:.1f} % of the answers' tokens"
    for answer in comparison.answers:
        yield "", f"{answer.equal} of {answer.tokens} after {answer.prompt!r}"


def describe_accuracy(accuracy: Accuracy) -> str:
    """In one line: 'perplexity 9.81 on english.txt (3,012 tokens, ...)'."""
    return (
        f"perplexity {accuracy.perplexity:,.2f} on {accuracy.text} ({accuracy.tokens:,} tokens in "
        f"windows of {accuracy.context}; {versions(accuracy)})"
    )


def versions(accuracy: Accuracy) -> str:
    return ", ".join(f"{name} {version}" for name, version in accuracy.measured_with.items())
