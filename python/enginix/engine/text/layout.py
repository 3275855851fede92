"""Composes tokenizer.json, as the tokenizers library reads it, from a vocabulary file's parts.

The output is independent of the time and place of the build, so a rebuild gives the same bytes.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from enginix.engine.text.added_tokens import Added

MARK = "\u2581"
"""SentencePiece's mark for a space."""


def tokenizer_json(parts: dict[str, Any], added: Sequence[Added], prefix: Sequence[Added]) -> str:
    """`parts`: normalizer, pre_tokenizer, decoder and model; `prefix` starts every text."""
    data = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": list(added),
        "normalizer": parts.get("normalizer"),
        "pre_tokenizer": parts.get("pre_tokenizer"),
        "post_processor": _with_prefix(prefix) if prefix else parts.get("post_processor"),
        "decoder": parts["decoder"],
        "model": _with_added(parts["model"], added),
    }
    return json.dumps(data, ensure_ascii=False, indent=2) + "\n"


def _with_added(model: dict[str, Any], added: Sequence[Added]) -> dict[str, Any]:
    """Add the tokens to the vocabulary too: there, unlike in added_tokens, ids may have gaps."""
    if not isinstance(model["vocab"], dict):
        return model
    vocab = {**model["vocab"]}
    for token in added:
        vocab.setdefault(token["content"], token["id"])
    return {**model, "vocab": vocab}


def _with_prefix(prefix: Sequence[Added]) -> dict[str, Any]:
    first = [{"SpecialToken": {"id": token["content"], "type_id": 0}} for token in prefix]
    one, other = ({"Sequence": {"id": name, "type_id": n}} for n, name in enumerate("AB"))
    tokens = {
        token["content"]: {
            "id": token["content"],
            "ids": [token["id"]],
            "tokens": [token["content"]],
        }
        for token in prefix
    }
    return {
        "type": "TemplateProcessing",
        "single": [*first, one],
        "pair": [*first, one, other],
        "special_tokens": tokens,
    }


def bpe(
    vocab: dict[str, int], merges: Sequence[Sequence[str]], unknown: str, *, bytes_too: bool
) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": unknown,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": bytes_too,
        "ignore_merges": False,
        "vocab": vocab,
        "merges": [list(merge) for merge in merges],
    }


def unigram(
    pieces: Sequence[tuple[str, float]], unknown: int, *, bytes_too: bool
) -> dict[str, Any]:
    vocab = [list(piece) for piece in pieces]
    return {"type": "Unigram", "unk_id": unknown, "vocab": vocab, "byte_fallback": bytes_too}


def sentencepiece_normalizer(
    charsmap: bytes, *, collapses: bool, prepends: bool, escapes: bool
) -> dict[str, Any] | None:
    """In SentencePiece's order: characters, spaces, the prefix mark, marks for spaces."""
    steps: list[dict[str, Any]] = []
    if charsmap:
        steps.append(
            {"type": "Precompiled", "precompiled_charsmap": b64encode(charsmap).decode("ascii")}
        )
    if collapses:
        # At the end the mark itself is removed as well.
        steps += [_replace(rf"\A +|[ {MARK}]+\z", ""), _replace(" {2,}", " ")]
    if prepends:
        # Not for an empty text.
        steps.append({"type": "Prepend", "prepend": MARK})
    if escapes:
        steps.append({"type": "Replace", "pattern": {"String": " "}, "content": MARK})
    return {"type": "Sequence", "normalizers": steps}


def _replace(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}


def sentencepiece_splits(whole: Sequence[str], *, marks_first: bool) -> dict[str, Any] | None:
    """`whole`: pieces that are never merged with their neighbours."""
    steps: list[dict[str, Any]] = []
    if marks_first:
        # Only the first word gets the mark, not one after a special token.
        steps.append(
            {
                "type": "Metaspace",
                "replacement": MARK,
                "prepend_scheme": "first",
                "split": False,
            }
        )
    if whole:
        pattern = "|".join(re.escape(piece) for piece in sorted(whole, key=len, reverse=True))
        steps.append(
            {
                "type": "Split",
                "pattern": {"Regex": pattern},
                "behavior": "Isolated",
                "invert": False,
            }
        )
    return {"type": "Sequence", "pretokenizers": steps} if steps else None


def sentencepiece_decoder(*, strips: bool) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": MARK}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if strips:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": steps}
