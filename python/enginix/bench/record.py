"""A benchmark's file: written with --json, read by --compare."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from enginix.bench.summary import Summary
from enginix.errors import UsageError
from enginix.records import decode, read_json

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Record:
    url: str
    model: str
    begun: str
    """UTC, in ISO 8601."""
    settings: Mapping[str, Any]
    levels: Sequence[Summary]


def to_json(record: Record) -> str:
    return json.dumps({"schema": SCHEMA, **asdict(record)}, indent=2) + "\n"


def read(path: Path) -> Record:
    def failure(reason: str) -> UsageError:
        return UsageError(
            f"{reason}; {path} is not a benchmark of this enginix: expected a file of "
            "`enginix bench URL --json`"
        )

    try:
        data = read_json(path, failure)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    found = data.pop("schema", None) if isinstance(data, dict) else None
    if found != SCHEMA:
        raise failure(f"{path} has schema {found!r}, this enginix reads {SCHEMA}")
    return decode(Record, data, str(path), failure)
