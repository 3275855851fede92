"""What a soak found: growth, wrong answers, deaths, and health that does not fit. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, groupby, pairwise
from statistics import median

from benchmarks.soaking.processes import PASSING, Sample

# The first part of a run: imports, caches that fill, arenas that find their size.
WARM_UP = 0.3
LEAST_SAMPLES = 12
MOST_SAMPLES = 240
RISING = 0.4
"""Of all pairs of samples, how many more rise than fall: 0 is noise, 1 a straight climb."""
STILL = 0.4
"""The later half climbs at this share of the whole run's pace at least, or it levels off."""
# Measure -> what it may rise by in a run, absolutely and as a share.
SLACK = {"rss_mb": (10.0, 0.05), "descriptors": (8.0, 0.1), "threads": (4.0, 0.1)}
RED_SECONDS = 3.0
RED_ANSWERS = 3
SILENT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Ended:
    """One request: `model` is None where none was meant, `wrong` None where all was right."""

    kind: str
    model: str | None
    began: float
    at: float
    wrong: str | None = None


@dataclass(frozen=True, slots=True)
class Health:
    at: float
    """Models that it calls well, and all of them; None when no answer came."""
    well: frozenset[str] | None
    known: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Trend:
    slope: float
    """Per second, the median over all pairs of samples (Theil and Sen)."""
    rising: float
    """Kendall's tau: pairs that rise less those that fall, of all pairs."""
    rise: float
    """Slope times duration."""


def trend(points: Sequence[tuple[float, float]]) -> Trend:
    step = max(1, len(points) // MOST_SAMPLES)
    pairs = [(b[0] - a[0], b[1] - a[1]) for a, b in combinations(points[::step], 2) if b[0] > a[0]]
    if not pairs:
        return Trend(0.0, 0.0, 0.0)
    slope = median(up / time for time, up in pairs)
    rising = sum((up > 0) - (up < 0) for _, up in pairs) / len(pairs)
    return Trend(slope, rising, slope * (points[-1][0] - points[0][0]))


def grows(points: Sequence[tuple[float, float]], measure: str) -> Trend | None:
    """The trend of what has grown, and goes on growing, beyond its slack."""
    if len(points) < LEAST_SAMPLES:
        return None
    whole, later = trend(points), trend(points[len(points) // 2 :])
    absolute, share = SLACK[measure]
    slack = max(absolute, share * median(value for _, value in points))
    levels_off = later.slope < STILL * whole.slope or later.rising < RISING / 2
    if whole.rise <= slack or whole.rising < RISING or levels_off:
        return None
    return whole


def series(
    samples: Iterable[Sample], began: float, ended: float
) -> dict[tuple[str, int], list[Sample]]:
    """By process, without the warm-up; only processes that were there for most of the rest."""
    start = began + WARM_UP * (ended - began)
    found: dict[tuple[str, int], list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.at >= start:
            found[sample.role, sample.pid].append(sample)
    return {
        key: rows
        for key, rows in found.items()
        if rows[-1].at - rows[0].at >= 0.6 * (ended - start)
    }


def growth(samples: Iterable[Sample], began: float, ended: float) -> list[str]:
    sentences = []
    for (role, pid), rows in series(samples, began, ended).items():
        if role in PASSING:
            continue
        for measure in SLACK:
            points = [(row.at, float(getattr(row, measure))) for row in rows]
            if found := grows(points, measure):
                what = {"rss_mb": "MB of memory"}.get(measure, measure)
                sentences.append(
                    f"{role} (pid {pid}) grows: {found.slope * 60:+.2f} {what} a minute, from "
                    f"{points[0][1]:.0f} to {points[-1][1]:.0f}"
                )
    return sentences


def wrong_answers(requests: Iterable[Ended]) -> list[str]:
    by_kind: dict[str, list[Ended]] = defaultdict(list)
    for each in requests:
        if each.wrong is not None:
            by_kind[each.kind].append(each)
    return [
        f"{len(wrong)} of the requests of the kind {kind!r} went wrong; the first, "
        f"of {wrong[0].model or 'no model'}: {wrong[0].wrong}"
        for kind, wrong in by_kind.items()
    ]


def deaths(
    samples: Sequence[Sample], ended: float, restarts: Mapping[str, int], passing: Iterable[str]
) -> list[str]:
    """Of processes that should have stayed. `restarts` is what the profile says of its models."""
    last: dict[tuple[str, int], float] = {}
    for sample in samples:
        last[sample.role, sample.pid] = sample.at
    final = max((sample.at for sample in samples), default=ended)
    # A child that was forked and has not become its own program yet looks like its parent, once.
    count = Counter((sample.role, sample.pid) for sample in samples)
    leave = PASSING | set(passing)
    sentences = [
        f"{role} (pid {pid}) ended {ended - at:.0f} s before the run did, unasked"
        for (role, pid), at in last.items()
        if at < final and role not in leave and count[role, pid] > 1
    ]
    told = ", ".join(f"{name} {count}" for name, count in restarts.items() if count)
    if sentences and not told:
        sentences.append("an unnoticed death: /v1/status counts no restart of any model")
    elif told:
        sentences.append(f"servers were started again in a run without faults: {told}")
    return sentences


def red_while_answers_come(health: Sequence[Health], requests: Sequence[Ended]) -> list[str]:
    sentences = []
    names = {each.model for each in requests if each.model}
    for name in sorted(names):
        for since, until in _runs(health, partial(_is_red, name)):
            right = [
                each
                for each in requests
                if each.model == name and each.wrong is None and since <= each.began <= until
            ]
            if until - since >= RED_SECONDS and len(right) >= RED_ANSWERS:
                sentences.append(
                    f"health of {name} was red for {until - since:.1f} s while "
                    f"{len(right)} right answers came"
                )
    return sentences


def green_while_none_comes(health: Sequence[Health], requests: Sequence[Ended]) -> list[str]:
    sentences = []
    for name in sorted({each.model for each in requests if each.model}):
        own = [each for each in requests if each.model == name]
        ends = sorted(each.at for each in own if each.wrong is None)
        for since, until in _runs(health, partial(_is_green, name)):
            inside = [since, *(at for at in ends if since < at < until), until]
            for one, other in pairwise(inside):
                if other - one < SILENT_SECONDS:
                    continue
                if any(each.began <= one and each.at >= other for each in own):
                    sentences.append(
                        f"health of {name} was green for {other - one:.1f} s in which requests "
                        "waited and none was answered"
                    )
    return sentences


def _is_red(name: str, one: Health) -> bool:
    return one.well is not None and name in one.known and name not in one.well


def _is_green(name: str, one: Health) -> bool:
    return one.well is not None and name in one.well


def _runs(health: Sequence[Health], holds: Callable[[Health], bool]) -> list[tuple[float, float]]:
    """From when to when `holds` without a break."""
    return [
        (run[0].at, run[-1].at)
        for held, group in groupby(health, holds)
        if held and (run := list(group))
    ]
