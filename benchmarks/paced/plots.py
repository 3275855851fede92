"""What token_path.py measured, as plots: cost against the number of streams and the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

# Name -> (x, y) of each point.
Lines = Mapping[str, list[tuple[float, float]]]


def line_plot(path: Path, lines: Lines, x: str, y: str) -> bool:
    """Write an SVG; False where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, points in lines.items():
        axes.plot(*zip(*sorted(points), strict=True), marker="o", label=name)
    axes.set(xlabel=x, ylabel=y, xscale="log", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)
    return True
