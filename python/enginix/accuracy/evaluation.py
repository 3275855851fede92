"""The result of `enginix evaluate`, which is also the baseline of a later one."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from enginix.errors import UsageError
from enginix.manifest import Accuracy
from enginix.records import decode, read_json

SCHEMA_VERSION = 1
COMPARISON = "comparison"
"""The key of what an evaluation with a baseline adds."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How the model continues a prompt greedily; `ids` are the tokens of that text."""

    prompt: str
    text: str
    ids: list[int]


@dataclass(frozen=True, slots=True)
class Evaluation:
    target: str
    """The engine's directory, or the server's address."""
    model: str
    text: str
    text_sha256: str
    tokens_sha256: str
    """Of the text's token ids: the same text has others with another tokenizer."""
    context: int
    stride: int
    accuracy: Accuracy | None
    """None if the server gives no log probabilities of a prompt."""
    reason: str | None
    """Why that is so."""
    answers: list[Answer]
    schema_version: int = SCHEMA_VERSION


def tokens_sha256(ids: Sequence[int]) -> str:
    return hashlib.sha256(array("q", ids).tobytes()).hexdigest()


def read_evaluation(path: Path) -> Evaluation:
    """An earlier result; UsageError if the file holds none."""

    def failure(reason: str) -> UsageError:
        return UsageError(
            f"--baseline: {reason}; expected a file with the output of `enginix evaluate --json`, "
            "or a URL"
        )

    try:
        data = read_json(path, failure)
    except (FileNotFoundError, NotADirectoryError):
        raise failure(f"there is no file {path}") from None
    found = data.get("schema_version") if isinstance(data, dict) else None
    if found != SCHEMA_VERSION:
        raise failure(f"{path} has schema version {found!r}, not {SCHEMA_VERSION}")
    data.pop(COMPARISON, None)
    found = decode(Evaluation, data, str(path), failure)
    if found.accuracy and not 1 <= found.accuracy.perplexity < math.inf:
        raise failure(f"{path}: accuracy: perplexity: expected a number of at least 1")
    return found
