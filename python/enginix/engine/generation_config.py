"""What ends an answer and how a model samples, wherever the checkpoint says it.

transformers reads generation_config.json, and config.json where there is no such file. An engine
has no config.json of its checkpoint's, so its generation_config.json holds what both say.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from enginix.checkpoint.json_object import read_object
from enginix.checkpoint.plain_files import read_own, require_own

FILE_NAME = "generation_config.json"
ENDS = "eos_token_id"

# What transformers takes from a config.json, of what servers read.
FROM_CONFIG = (
    ENDS,
    "bos_token_id",
    "pad_token_id",
    "do_sample",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
)


def read_generation_config(checkpoint: Path) -> dict[str, Any]:
    """Without a file of its own, from config.json; an end that the file leaves out, too: a model
    that never ends its answers is nobody's intention."""
    own = _own(checkpoint)
    config = read_object(checkpoint / "config.json") or {}
    text = config.get("text_config")
    stated = {**(text if isinstance(text, dict) else {}), **_without_nulls(config)}
    keys = FROM_CONFIG if own is None else (ENDS,)
    found = {key: stated[key] for key in keys if stated.get(key) is not None}
    return {**found, **(_without_nulls(own) if own else {})}


def read_end_ids(checkpoint: Path) -> list[int]:
    """The tokens that end an answer, the main one first; none where only the tokenizer says it."""
    stated = read_generation_config(checkpoint).get(ENDS)
    ids = stated if isinstance(stated, list) else [stated]
    return list(dict.fromkeys(token for token in ids if type(token) is int))


def generation_config_bytes(checkpoint: Path) -> bytes | None:
    """An engine's file: the checkpoint's own byte for byte, where that says all there is."""
    found = read_generation_config(checkpoint)
    own = _own(checkpoint)
    if own is not None and _without_nulls(own) == found:
        return read_own(checkpoint, FILE_NAME)
    return (json.dumps(found, indent=2) + "\n").encode("utf-8") if found else None


def _own(checkpoint: Path) -> dict[str, Any] | None:
    """The checkpoint's own file; never what a link to elsewhere leads to."""
    path = checkpoint / FILE_NAME
    if os.path.lexists(path):
        require_own(checkpoint, FILE_NAME)
    return read_object(path)


def _without_nulls(stated: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in stated.items() if value is not None}
