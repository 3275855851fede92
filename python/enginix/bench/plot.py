"""Plots a sweep: time to first token and throughput over the load; and a report's two pictures."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from enginix.bench.summary import Summary
from enginix.errors import UsageError


def require_matplotlib(option: str = "--plot") -> None:
    """Check before measuring, so that no run ends without its plot."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError(
            f"{option} needs matplotlib, which is not installed; "
            "`pip install 'enginix[bench]'` brings it"
        ) from None
    # At INFO it tells of its font cache.
    logging.getLogger("matplotlib").setLevel(logging.WARNING)


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


@dataclass(frozen=True, slots=True)
class Panel:
    """One coordinate system of a picture."""

    x_label: str
    y_label: str
    curves: Mapping[str, Sequence[tuple[float, float]]]
    """Label -> points."""
    ceilings: Mapping[str, float] = field(default_factory=dict)
    """Label -> value of a horizontal line, in the colour of the curve of the same label."""


def picture(panels: Sequence[Panel], title: str) -> bytes:
    """A PNG of the panels side by side, their x axes in powers of two."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(panels), 4), layout="constrained", dpi=120)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        axes.set_xscale("log", base=2)
        for label, points in panel.curves.items():
            [line] = axes.plot(*zip(*points, strict=True), marker="o", label=label)
            if label in panel.ceilings:
                axes.axhline(
                    panel.ceilings[label],
                    color=line.get_color(),
                    linestyle="--",
                    label=f"{label}: roofline",
                )
        values = [y for points in panel.curves.values() for _, y in points]
        axes.set_ylim(0, 1.08 * max([*values, *panel.ceilings.values()], default=0) or 1)
        xs = sorted({x for points in panel.curves.values() for x, _ in points})
        axes.set_xticks(xs, [f"{x:g}" for x in xs])
        axes.set_xlabel(panel.x_label)
        axes.set_ylabel(panel.y_label)
        axes.grid(alpha=0.3)
        if panel.curves:
            axes.legend()
    figure.suptitle(title)
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()
