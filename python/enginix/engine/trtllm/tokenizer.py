"""The tokenizer beside an engine: which files it is, and what guided decoding wants to know of it.

TensorRT-LLM's C++ runtime reads no tokenizer.json. For guided decoding Triton hands it a JSON
object instead: `encoded_vocab`, the tokens in the order of their ids as the vocabulary spells
them; `tokenizer_str`, the tokenizer.json, whose decoder says what that spelling means; and
`stop_token_ids`, which a fulfilled grammar allows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from enginix.engine.text.staging import text_files
from enginix.errors import CheckpointDamaged, NotACheckpoint
from enginix.hub_files import HubFiles, read_object

TOKENIZER_FILE = "tokenizer.json"
# NVIDIA's name for it; triton/server/repository.py looks for it.
GUIDE_FILE = "xgrammar_tokenizer_info.json"

# What a server needs beside the engine; never the checkpoint's config.json, which would hide the
# engine's own.
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

# Beyond any vocabulary: an id that is wrong must not become a list of billions.
MOST_TOKENS = 4_000_000


def tokenizer_files(directory: Path) -> list[Path]:
    return [directory / name for name in text_files(directory, TOKENIZER_PATTERNS)]


def write_guide(directory: Path) -> None:
    """Leave the file for guided decoding, where there is a tokenizer.json and an end to a text."""
    path = directory / TOKENIZER_FILE
    ends = end_ids(directory) if path.exists() else []
    if not ends:
        # xgrammar would have nothing to allow when its grammar is fulfilled.
        return
    guide = {
        "encoded_vocab": read_vocabulary(directory),
        "tokenizer_str": path.read_text(encoding="utf-8"),
        "stop_token_ids": ends,
    }
    (directory / GUIDE_FILE).write_text(json.dumps(guide), encoding="utf-8")


def read_vocabulary(directory: Path) -> list[str]:
    """The tokens by their ids, with empty ones where an id has none."""
    path = directory / TOKENIZER_FILE
    data = read_object(path)
    if data is None:
        raise NotACheckpoint(
            f"{directory} has no {TOKENIZER_FILE}, and without it no text becomes tokens"
        )
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
        # SentencePiece's unigrams are in the order of their ids, each with a score.
        yield from enumerate(str(token) for token, _ in vocabulary)
    else:
        yield from ((_id(number), token) for token, number in vocabulary.items())
    for added in data.get("added_tokens") or []:
        yield _id(added["id"]), str(added["content"])


def _id(number: int) -> int:
    if type(number) is not int or not 0 <= number < MOST_TOKENS:
        raise ValueError(number)
    return number
