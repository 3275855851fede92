"""Reads the small JSON files of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from enginix.checkpoint.plain_files import read_text
from enginix.errors import CheckpointDamaged


def read_object(path: Path) -> dict[str, Any] | None:
    """A JSON file of a checkpoint; None when it has none of that name."""
    try:
        data = json.loads(read_text(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointDamaged(f"{path} is not readable JSON: {error}") from error
    if not isinstance(data, dict):
        raise CheckpointDamaged(f"{path}: expected a JSON object, got {type(data).__name__}")
    return data
