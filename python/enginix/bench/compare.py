"""Compares two benchmarks: the second's values divided by the first's."""

from __future__ import annotations

from dataclasses import dataclass

from enginix.bench.record import Record
from enginix.bench.summary import Spread, Summary
from enginix.errors import UsageError


@dataclass(frozen=True, slots=True)
class Ratio:
    name: str
    first: float
    second: float

    @property
    def times(self) -> float:
        return self.second / self.first


def compared(first: Record, second: Record) -> dict[str, list[Ratio]]:
    """The ratios of every level that both have, by label."""
    others = {level.label: level for level in second.levels}
    common = [(level, others[level.label]) for level in first.levels if level.label in others]
    if not common:
        raise UsageError(
            f"the two have no level in common: {_labels(first)} and {_labels(second)}; "
            "measure both with the same --concurrency or --rate"
        )
    return {one.label: _ratios(one, other) for one, other in common}


def _labels(record: Record) -> str:
    return ", ".join(level.label for level in record.levels) or "none"


def _ratios(one: Summary, other: Summary) -> list[Ratio]:
    pairs = [
        (name, value, ours)
        for (name, value), (_, ours) in zip(_values(one), _values(other), strict=True)
    ]
    return [Ratio(name, value, ours) for name, value, ours in pairs if value and ours is not None]


def _values(level: Summary) -> list[tuple[str, float | None]]:
    return [
        ("output tokens/s", level.output_tokens_per_second),
        ("requests/s", level.requests_per_second),
        ("first token p50", _of(level.first_token, "p50")),
        ("first token p99", _of(level.first_token, "p99")),
        ("inter-token p50", _of(level.between_events, "p50")),
        ("inter-token p99", _of(level.between_events, "p99")),
        ("end to end p50", _of(level.end_to_end, "p50")),
    ]


def _of(spread: Spread | None, name: str) -> float | None:
    return None if spread is None else float(getattr(spread, name))
