"""Plots a sweep: time to first token and throughput over the load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from enginix.bench.summary import Summary
from enginix.errors import UsageError


def require_matplotlib() -> None:
    """Check before measuring, so that no run ends without its plot."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError(
            "--plot needs matplotlib, which is not installed; "
            "`pip install 'enginix[bench]'` brings it"
        ) from None


def plot(levels: Sequence[Summary], title: str, path: Path) -> None:
    # No display needed: a bare `Figure` renders into files.
    from matplotlib.figure import Figure

    drawn = [level for level in levels if level.first_token]
    load = [level.concurrency or level.rate or 0.0 for level in drawn]
    figure = Figure(figsize=(10, 4), layout="constrained")
    first, throughput = figure.subplots(1, 2)
    for name in ("p50", "p90", "p99"):
        values = [getattr(level.first_token, name) for level in drawn]
        first.plot(load, values, marker="o", label=name)
    first.set_ylabel("time to first token, ms")
    first.legend()
    throughput.plot(load, [level.output_tokens_per_second for level in drawn], marker="o")
    throughput.set_ylabel("output tokens per second")
    for axes in (first, throughput):
        axes.set_xlabel("concurrent requests" if levels[0].concurrency else "requests per second")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    figure.suptitle(title)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"--plot {path} cannot be written: {error}") from None
