"""The tokenizer beside an engine: its files, and the tokenizer data for guided decoding.

TensorRT-LLM's C++ runtime does not read tokenizer.json. For guided decoding Triton passes it a JSON
object: `encoded_vocab`, the tokens by id as the vocabulary spells them; `tokenizer_str`, the
tokenizer.json, whose decoder defines that spelling; and `stop_token_ids`, which a completed grammar
allows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from enginix.engine.text.added_tokens import token_id
from enginix.engine.text.staging import text_files
from enginix.errors import CheckpointDamaged, NotACheckpoint
from enginix.hub_files import HubFiles, read_object

TOKENIZER_FILE = "tokenizer.json"
# NVIDIA's name for it; triton/server/repository.py looks for it.
GUIDE_FILE = "xgrammar_tokenizer_info.json"

# What a server needs besides the engine; never the checkpoint's config.json, which would replace
# the engine's own.
TOKENIZER_PATTERNS = (
    "tokenizer*.json",
    "tokenizer.model",
    "*.tiktoken",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "tokenization_*.py",
)


def tokenizer_files(directory: Path) -> list[Path]:
    return [directory / name for name in text_files(directory, TOKENIZER_PATTERNS)]


def write_guide(directory: Path) -> None:
    """Write the file for guided decoding, if there are a tokenizer.json and an end token."""
    path = directory / TOKENIZER_FILE
    ends = end_ids(directory) if path.exists() else []
    if not ends:
        # xgrammar could allow no token once its grammar is completed.
        return
    guide = {
        "encoded_vocab": read_vocabulary(directory),
        "tokenizer_str": path.read_text(encoding="utf-8"),
        "stop_token_ids": ends,
    }
    (directory / GUIDE_FILE).write_text(json.dumps(guide), encoding="utf-8")


def read_vocabulary(directory: Path) -> list[str]:
    """The tokens by id, empty for an id without a token."""
    path = directory / TOKENIZER_FILE
    data = read_object(path)
    if data is None:
        raise NotACheckpoint(f"{directory} has no {TOKENIZER_FILE}, which the server needs")
    try:
        ids = dict(_tokens(data))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CheckpointDamaged(
            f"{path} is not a tokenizer: expected the vocabulary in model.vocab and added_tokens; "
            "fetch the checkpoint again"
        ) from None
    vocabulary = [""] * (max(ids, default=-1) + 1)
    for number, token in ids.items():
        vocabulary[number] = token
    return vocabulary


def end_ids(directory: Path) -> list[int]:
    """The tokens that end an answer, as generation_config.json and tokenizer_config.json say."""

    def id_of(token: str) -> int | None:
        vocabulary = read_vocabulary(directory)
        return vocabulary.index(token) if token in vocabulary else None

    return HubFiles(directory).end_ids(id_of)


def _tokens(data: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    vocabulary = data["model"]["vocab"]
    if isinstance(vocabulary, list):
        # SentencePiece's unigrams are sorted by id, each with a score.
        yield from enumerate(str(token) for token, _ in vocabulary)
    else:
        yield from ((token_id(number), token) for token, number in vocabulary.items())
    for added in data.get("added_tokens") or []:
        yield token_id(added["id"]), str(added["content"])
