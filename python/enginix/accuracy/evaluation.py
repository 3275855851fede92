"""The result of `enginix evaluate`."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from enginix.manifest import Accuracy

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Evaluation:
    target: str
    """The engine's directory, or the server's address."""
    model: str
    text: str
    text_sha256: str
    tokens_sha256: str
    """Of the text's token ids: the same text has others with another tokenizer."""
    accuracy: Accuracy
    schema_version: int = SCHEMA_VERSION


def tokens_sha256(ids: Sequence[int]) -> str:
    return hashlib.sha256(array("q", ids).tobytes()).hexdigest()
