"""What token_path.py measured, as plots: cost against the number of streams and the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

# Name -> (x, y) of each point.
Lines = Mapping[str, list[tuple[float, float]]]


def line_plot(path: Path, lines: Lines, x: str, y: str) -> bool:
    """Write an SVG; False where matplotlib is not installed."""
    try:
        from matplotlib import rcParams
        from matplotlib.figure import Figure
    except ImportError:
        return False
    rcParams["svg.hashsalt"] = path.name
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, points in lines.items():
        axes.plot(*zip(*sorted(points), strict=True), marker="o", label=name)
    axes.set(xlabel=x, ylabel=y, xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    # The same numbers make the same file.
    figure.savefig(path, metadata={"Date": None})
    return True
