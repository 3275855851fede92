"""Makes a checkpoint's tokenizer.json from another vocabulary file, and verifies it.

The file's original library and the converted tokenizer must give the same ids for every probe text,
and the same text for those ids.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enginix.engine.text import layout, libraries
from enginix.engine.text.added_tokens import Added, added_token, added_tokens
from enginix.engine.text.byte_level import byte_level
from enginix.engine.text.families import (
    Found,
    MergesRules,
    RankedBytesRules,
    SentencePieceRules,
    find_tokenizer,
)
from enginix.engine.text.probes import (
    LEADING,
    LITERALS,
    MARKS,
    PROBES,
    Decode,
    Encode,
    first_disagreement,
)
from enginix.errors import CheckpointDamaged, CheckpointUnsupported, EnginixError

END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True, slots=True)
class Converted:
    text: str
    """tokenizer.json."""
    roles: Mapping[str, str]
    """bos_token, eos_token, unk_token, as far as the vocabulary file states them."""
    summary: str


@dataclass(frozen=True, slots=True)
class Parts:
    """A vocabulary file in the form of tokenizer.json, and the original to compare it with."""

    parts: dict[str, Any]
    vocabulary: Mapping[str, int]
    own: list[Added]
    encode: Encode
    decode: Decode
    what: str
    roles: Mapping[str, str]
    prefix: Sequence[str] = ()
    more_texts: Sequence[str] = (*LEADING, *MARKS, *LITERALS)
    """Probe texts in addition to those for every tokenizer."""
    unknown: int | None = None


def convert_tokenizer(directory: Path) -> Converted:
    """Convert, or raise for an unknown tokenizer, a missing library or a broken file."""
    found = find_tokenizer(directory)
    read = {
        SentencePieceRules: from_sentencepiece,
        RankedBytesRules: from_ranks,
        MergesRules: from_merges,
    }[type(found.rules)]
    try:
        parts = read(found)
        probes = _agree(found, parts)
        added = added_tokens(found.files, parts.vocabulary, parts.own)
        text = layout.tokenizer_json(parts.parts, added, _prefix(found, parts, added))
        _require_added(found, libraries.Fast(text), added)
    except (EnginixError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the libraries raise anything, Rust's panics among it
        reason = " ".join(str(error).split()) or "it gave no reason"
        raise CheckpointDamaged(
            f"{found.path} cannot be converted to tokenizer.json ({type(error).__name__}: "
            f"{reason:.200}); download the checkpoint again"
        ) from error
    summary = (
        f"tokenizer.json made from {found.file} ({parts.what}, {len(parts.vocabulary):,} tokens), "
        f"{probes} texts tokenized as by the original"
    )
    return Converted(text, parts.roles, summary)


def from_sentencepiece(found: Found) -> Parts:
    rules, settings = found.rules, found.settings
    assert isinstance(rules, SentencePieceRules)
    model = libraries.read_sentencepiece(
        found.bytes_of(found.file), may_prepend=settings.get("add_prefix_space") is not False
    )
    vocabulary = {piece: number for number, (piece, _, _) in enumerate(model.pieces)}
    whole = [piece for piece, _, kind in model.pieces if kind == libraries.USER_DEFINED]
    marks_first = model.prepends and settings.get("legacy") is False
    bos = found.files.special_tokens.get("bos_token") or model.roles.get("bos_token")
    adds_bos = settings.get("add_bos_token", rules.adds_bos)
    return Parts(
        parts={
            "normalizer": layout.sentencepiece_normalizer(
                model.charsmap,
                collapses=model.collapses,
                prepends=model.prepends and not marks_first,
                escapes=model.escapes,
            ),
            "pre_tokenizer": layout.sentencepiece_splits(whole, marks_first=marks_first),
            "decoder": layout.sentencepiece_decoder(strips=model.prepends),
            "model": _sentencepiece_model(model, vocabulary, whole),
        },
        vocabulary=vocabulary,
        own=_own_tokens(model, rules),
        encode=model.encode,
        decode=model.decode,
        what="SentencePiece, BPE" if model.kind == libraries.BPE else "SentencePiece, unigrams",
        roles=model.roles,
        prefix=rules.prefix or ((bos,) if adds_bos and bos else ()),
        more_texts=(
            *(() if marks_first else LEADING),
            *(() if marks_first or model.collapses else MARKS),
            *(() if model.kind == libraries.UNIGRAM else LITERALS),
        ),
        unknown=model.unknown,
    )


def _own_tokens(model: libraries.SentencePieceModel, rules: SentencePieceRules) -> list[Added]:
    kinds = (libraries.UNKNOWN, libraries.CONTROL)
    own = [
        added_token(number, piece, special=True)
        for number, (piece, _, kind) in enumerate(model.pieces)
        if kind in kinds
    ]
    first = len(model.pieces)
    return own + [
        # An ordinary word must not become a token inside another word.
        added_token(first + place, content, special=True, single_word=content.isalpha())
        for place, content in enumerate(rules.appended)
    ]


def _sentencepiece_model(
    model: libraries.SentencePieceModel, vocabulary: dict[str, int], whole: Sequence[str]
) -> dict[str, Any]:
    if model.kind == libraries.UNIGRAM:
        pieces = [(piece, score) for piece, score, _ in model.pieces]
        return layout.unigram(pieces, model.unknown, bytes_too=model.bytes_too)
    if model.kind != libraries.BPE:
        raise CheckpointUnsupported(
            f"the SentencePiece model is of type {model.kind} (words or characters), expected BPE "
            "or unigrams; save the tokenizer with transformers as tokenizer.json"
        )
    # Only normal pieces are merged.
    scores = {text: score for text, score, kind in model.pieces if kind == libraries.NORMAL}
    merges = libraries.merges_of({text: vocabulary[text] for text in scores}, scores)
    unknown = model.pieces[model.unknown][0]
    made = layout.bpe(vocabulary, merges, unknown, bytes_too=model.bytes_too)
    return {**made, "ignore_merges": bool(whole)}


def from_ranks(found: Found) -> Parts:
    rules = found.rules
    assert isinstance(rules, RankedBytesRules)
    ranks = _ranks(found)
    made = json.loads(libraries.from_ranks(ranks, rules.split))
    if rules.composes:
        made["normalizer"] = {"type": "NFC"}
    encode, decode = libraries.read_ranks(ranks, rules.split, composes=rules.composes)
    first = max(ranks.values()) + 1
    return Parts(
        parts=made,
        vocabulary=made["model"]["vocab"],
        own=[
            added_token(first + place, content, special=True)
            for place, content in enumerate(rules.appended)
        ],
        encode=encode,
        decode=decode,
        what="tiktoken's ranks",
        roles={"eos_token": END_OF_TEXT} if END_OF_TEXT in rules.appended else {},
        prefix=rules.prefix,
    )


def _ranks(found: Found) -> dict[bytes, int]:
    lines = found.bytes_of(found.file).split(b"\n")
    pairs = [line.split() for line in lines if line.strip()]
    ranks = {b64decode(token, validate=True): int(rank) for token, rank in pairs}
    # Its library aborts the whole process if one is missing.
    if len(set(ranks.values())) < len(pairs) or any(bytes([n]) not in ranks for n in range(256)):
        raise ValueError("expected a distinct rank for each token, and a token for each byte")
    return ranks


def from_merges(found: Found) -> Parts:
    rules = found.rules
    assert isinstance(rules, MergesRules)
    vocabulary = {
        str(token): int(number)
        for token, number in json.loads(found.bytes_of("vocab.json")).items()
    }
    lines = found.bytes_of("merges.txt").decode("utf-8").split("\n")
    body = lines[1:] if lines[0].startswith("#version") else lines
    merges = [_pair(line) for line in body if line.strip()]
    unknown = [pair for pair in merges if not vocabulary.keys() >= {*pair, "".join(pair)}]
    if unknown:
        raise ValueError(f"merges.txt joins {unknown[0]}, but vocab.json lacks some of them")
    spaced = found.settings.get("add_prefix_space") is True
    made = libraries.from_merges(
        vocabulary, merges, composes=rules.composes, add_prefix_space=spaced
    )
    encode, decode = byte_level(rules, vocabulary, merges, spaced=spaced)
    bos = found.files.special_tokens.get("bos_token")
    return Parts(
        parts=json.loads(made),
        vocabulary=vocabulary,
        own=[],
        encode=encode,
        decode=decode,
        what="vocabulary and merges",
        roles={"eos_token": END_OF_TEXT} if END_OF_TEXT in vocabulary else {},
        prefix=(bos,) if found.settings.get("add_bos_token") is True and bos else (),
    )


def _pair(line: str) -> tuple[str, str]:
    left, right = line.split()
    return left, right


def _agree(found: Found, parts: Parts) -> int:
    """The number of compared texts; raises if the converted tokenizer and the original differ."""
    fast = libraries.Fast(layout.tokenizer_json(parts.parts, (), ()))
    texts = (*PROBES, *parts.more_texts)
    differs = first_disagreement(texts, fast, parts.encode, parts.decode, parts.unknown)
    if differs:
        raise CheckpointUnsupported(
            f"{found.path} cannot be converted to tokenizer.json: the text {differs}; save the "
            "tokenizer with transformers as tokenizer.json into the checkpoint"
        )
    return len(texts)


def _prefix(found: Found, parts: Parts, added: Sequence[Added]) -> list[Added]:
    by_content = {token["content"]: token for token in added}
    missing = [content for content in parts.prefix if content not in by_content]
    if missing:
        raise CheckpointDamaged(
            f"{found.directory}: texts start with {missing[0]!r:.40}, which is not a token of "
            f"{found.file}; the files belong to different models"
        )
    return [by_content[content] for content in parts.prefix]


def _require_added(found: Found, fast: libraries.Fast, added: Sequence[Added]) -> None:
    wrong = [token for token in added if fast.token_id(token["content"]) != token["id"]]
    if wrong:
        raise CheckpointUnsupported(
            f"{found.directory}: the token {wrong[0]['content']!r:.40} cannot have the id "
            f"{wrong[0]['id']} in a tokenizer.json made from {found.file}; save the tokenizer "
            "with transformers into the checkpoint"
        )
