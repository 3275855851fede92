"""The file of a benchmark: written with --json, read by --compare."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from enginix.bench.summary import Spread, Summary
from enginix.errors import UsageError

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Record:
    url: str
    model: str
    begun: str
    """UTC, as ISO 8601 writes it."""
    settings: Mapping[str, Any]
    levels: Sequence[Summary]


def to_json(record: Record) -> str:
    return json.dumps({"schema": SCHEMA, **asdict(record)}, indent=2) + "\n"


def read(path: Path) -> Record:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    try:
        if data.pop("schema") != SCHEMA:
            raise ValueError
        return Record(**{**data, "levels": [_summary(level) for level in data["levels"]]})
    except (LookupError, TypeError, ValueError, AttributeError):
        raise UsageError(
            f"{path} is no benchmark of this enginix; expected a file of `enginix bench URL --json`"
        ) from None


def _summary(level: dict[str, Any]) -> Summary:
    spreads = [name for name in level if name in _SPREADS]
    made = {name: Spread(**level[name]) for name in spreads if level[name] is not None}
    return Summary(**{**level, **made})


_SPREADS = {field.name for field in fields(Summary) if "Spread" in str(field.type)}
