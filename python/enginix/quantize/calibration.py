"""Reads the texts that a model is shown so that ModelOpt sees how large its activations get."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enginix.errors import UsageError

# Fewer say little about activations: of three lines, every scale is an accident.
LEAST_SAMPLES = 16
LEAST_TOKENS = 512
SAMPLES = 512
LENGTH = 512

MAX_LINE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Calibration:
    """`samples` are objects with `text`, or with `messages` as clients send them."""

    file: Path
    samples: list[dict[str, Any]]


def read_calibration(path: Path, most: int) -> Calibration:
    """The first `most` different samples: a line of text each, or of JSON if it is named .jsonl.

    UsageError for anything else, and for fewer than LEAST_SAMPLES.
    """
    if most < LEAST_SAMPLES:
        raise UsageError(f"--samples {most}: expected at least {LEAST_SAMPLES}")
    found: dict[str, dict[str, Any]] = {}
    try:
        with path.open("rb") as file:
            number = 0
            while len(found) < most and (line := file.readline(MAX_LINE_BYTES + 1)):
                number += 1
                if sample := _sample(f"{path}, line {number}", line, path.suffix == ".jsonl"):
                    found.setdefault(json.dumps(sample), sample)
    except OSError as error:
        raise UsageError(f"--calibration: {path} cannot be read: {error.strerror}") from None
    if len(found) < LEAST_SAMPLES:
        raise UsageError(
            f"--calibration: {path} has {len(found)} different samples, expected at least "
            f"{LEAST_SAMPLES}, better some hundred: texts like those that the model will read, one "
            "a line"
        )
    return Calibration(path, list(found.values()))


def _sample(where: str, line: bytes, is_json: bool) -> dict[str, Any] | None:
    if len(line) > MAX_LINE_BYTES:
        raise UsageError(
            f"--calibration: {where} has over {MAX_LINE_BYTES >> 20} MiB; expected one sample a "
            "line, of a few pages at most"
        )
    try:
        text = line.decode("utf-8").strip()
        if not text or not is_json:
            return {"text": text} if text else None
        sample = json.loads(text)
    except UnicodeDecodeError as error:
        raise UsageError(f"--calibration: {where} is not UTF-8: {error.reason}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--calibration: {where} is not JSON: {error}") from None
    match sample:
        case {"messages": [*messages]} if messages and all(isinstance(m, dict) for m in messages):
            return {"messages": messages}
        case {"text": str(text)}:
            return {"text": text} if text.strip() else None
    raise UsageError(
        f"--calibration: {where}: expected an object with `text`, a string, or `messages`, a list "
        f"of objects with `role` and `content`, got {line[:80].decode(errors='replace').strip()!r}"
    )
