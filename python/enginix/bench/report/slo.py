"""Service level objectives: which answers were fast enough to count as goodput."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from enginix.bench.answer import Answer
from enginix.errors import UsageError

# What each objective limits, in seconds. `itl` is an answer's average, which also holds for servers
# that put several tokens into one event; an answer of one token has none and meets it.
MEASURES: Mapping[str, Callable[[Answer], float]] = {
    "ttft": lambda answer: answer.first_token_seconds,
    "itl": lambda answer: answer.seconds_per_token or 0.0,
    "e2e": lambda answer: answer.seconds,
}
EXAMPLE = "ttft=500ms,itl=50ms"
_LIMIT = re.compile(r"(\w+)=(\d+(?:\.\d+)?)(ms|s)")


@dataclass(frozen=True, slots=True)
class Slo:
    text: str
    limits: Mapping[str, float]
    """Objective -> seconds."""

    def met_by(self, answer: Answer) -> bool:
        """False for a failed answer."""
        return not answer.failure and all(
            MEASURES[name](answer) <= limit for name, limit in self.limits.items()
        )


def parse_slo(text: str) -> Slo:
    limits: dict[str, float] = {}
    for word in text.split(","):
        found = _LIMIT.fullmatch(word.strip())
        if found is None or found[1] not in MEASURES:
            raise UsageError(
                f"--slo: {word.strip()!r} is not an objective; expected some of "
                f"{', '.join(MEASURES)} with a time in ms or s, for example {EXAMPLE}"
            )
        limits[found[1]] = float(found[2]) * (1e-3 if found[3] == "ms" else 1.0)
    return Slo(text, limits)
