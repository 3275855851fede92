"""A report's pictures: the rate by the answer's length, and throughput and latency by load."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from enginix.bench.plot import Panel, picture
from enginix.bench.report.document import Picture
from enginix.bench.report.tables import Line, decode_rate
from enginix.bench.summary import Spread, Summary

Points = dict[str, list[tuple[float, float]]]


def pictures_of(single: Sequence[Line], parallel: Sequence[Line]) -> dict[str, Picture]:
    """The pictures that have points, "single" and "parallel"."""
    made = {}
    if any(line.summary.ok for line in single):
        made["single"] = _single([line for line in single if line.summary.ok])
    if any(line.summary.ok for line in parallel):
        made["parallel"] = _parallel([line for line in parallel if line.summary.ok])
    return made


def _single(rows: Sequence[Line]) -> Picture:
    def points(take: Callable[[Line], float | None]) -> Points:
        return _curves(rows, lambda line: line.measured.max_tokens, take)

    servers = {line.measured.server.name: line.measured.server for line in rows}
    ceilings = {
        name: each.roofline.tokens_per_second
        for name, each in servers.items()
        if each.roofline.tokens_per_second
    }
    panels = [
        Panel("output tokens", "decode tokens/s", points(decode_rate), ceilings),
        Panel("output tokens", "first token, ms (p50)", points(_p50("first_token"))),
        Panel("output tokens", "end to end, ms (p50)", points(_p50("end_to_end"))),
    ]
    title = "Single stream, by the answer's length"
    return Picture("single_stream.png", title, picture(panels, title))


def _parallel(rows: Sequence[Line]) -> Picture:
    def points(take: Callable[[Line], float | None]) -> Points:
        return _curves(rows, lambda line: line.measured.concurrency, take)

    x = "concurrent requests"
    panels = [
        Panel(x, "output tokens/s", points(lambda line: line.summary.output_tokens_per_second)),
        Panel(x, "first token, ms (p50)", points(_p50("first_token"))),
        Panel(x, "per token, ms (p50)", points(_p50("per_token"))),
    ]
    title = "Parallel requests, by their number"
    return Picture("parallel.png", title, picture(panels, title))


def _curves(
    rows: Sequence[Line], x: Callable[[Line], float], y: Callable[[Line], float | None]
) -> Points:
    curves: Points = {}
    for line in rows:
        if (value := y(line)) is not None:
            curves.setdefault(line.measured.server.name, []).append((x(line), value))
    return curves


def _p50(name: str) -> Callable[[Line], float | None]:
    def take(line: Line) -> float | None:
        summary: Summary = line.summary
        found: Spread | None = getattr(summary, name)
        return None if found is None else found.p50

    return take
