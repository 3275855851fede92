"""The only importer of transformers, sentencepiece and tiktoken, which read vocabulary files.

They are the extra `transformers`, needed only at build time for such checkpoints. They get bytes,
never a directory or a name, and run no code of a checkpoint.
"""

from __future__ import annotations

import logging
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import tokenizers

from enginix.engine.text.probes import Decode, Encode
from enginix.errors import ConverterMissing

# The types of a piece in a SentencePiece model.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4
UNIGRAM, BPE = 1, 2


class Fast:
    """A tokenizer.json as the tokenizers library reads it."""

    def __init__(self, text: str) -> None:
        self._tokenizer = tokenizers.Tokenizer.from_str(text)

    def encode(self, text: str) -> Sequence[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=False)
        return text

    def token_id(self, content: str) -> int | None:
        number: int | None = self._tokenizer.token_to_id(content)
        return number


@dataclass(frozen=True, slots=True)
class SentencePieceModel:
    kind: int
    pieces: list[tuple[str, float, int]]
    """Text, score and type of each piece, by id."""
    unknown: int
    bytes_too: bool
    collapses: bool
    prepends: bool
    escapes: bool
    charsmap: bytes
    roles: Mapping[str, str]
    """bos_token, eos_token and unk_token, if it has them."""
    encode: Encode
    decode: Decode


def read_sentencepiece(data: bytes, *, may_prepend: bool) -> SentencePieceModel:
    """Read a SentencePiece model; may raise any Exception for an invalid one."""
    converters = load("transformers.convert_slow_tokenizer")
    proto = converters.import_protobuf().ModelProto.FromString(data)
    # So does transformers' own slow tokenizer with add_prefix_space.
    proto.normalizer_spec.add_dummy_prefix &= may_prepend
    processor = load("sentencepiece").SentencePieceProcessor()
    processor.LoadFromSerializedProto(proto.SerializeToString())
    ids = {"bos": processor.bos_id(), "eos": processor.eos_id(), "unk": processor.unk_id()}
    return SentencePieceModel(
        kind=proto.trainer_spec.model_type,
        pieces=[(each.piece, each.score, each.type) for each in proto.pieces],
        unknown=processor.unk_id(),
        bytes_too=proto.trainer_spec.byte_fallback,
        collapses=proto.normalizer_spec.remove_extra_whitespaces,
        prepends=proto.normalizer_spec.add_dummy_prefix,
        escapes=proto.normalizer_spec.escape_whitespaces,
        charsmap=proto.normalizer_spec.precompiled_charsmap,
        roles={f"{name}_token": proto.pieces[at].piece for name, at in ids.items() if at >= 0},
        encode=processor.EncodeAsIds,
        decode=lambda found: str(processor.DecodeIds(list(found))),
    )


def merges_of(vocabulary: Mapping[str, int], scores: Mapping[str, float]) -> list[tuple[str, str]]:
    """The merges that correspond to SentencePiece's scores."""
    generate = load("transformers.convert_slow_tokenizer").generate_merges
    merges: list[tuple[str, str]] = generate(dict(vocabulary), list(scores.items()))
    return merges


def from_ranks(ranks: Mapping[bytes, int], split: str) -> str:
    """tokenizer.json of tiktoken's ranks, without special tokens."""
    make = load("transformers.convert_slow_tokenizer").TikTokenConverter
    # Version 4 and version 5 name them differently.
    none: dict[str, list[str]] = {"additional_special_tokens": [], "extra_special_tokens": []}
    converter = make("", pattern=split, **none)
    with _loaded_already(ranks):
        return str(converter.converted().to_str())


@contextmanager
def _loaded_already(ranks: Mapping[bytes, int]) -> Iterator[None]:
    """The converter reads a path through tiktoken, which caches by path: a changed file would give
    its old tokens."""
    loader = load("tiktoken.load")
    original = loader.load_tiktoken_bpe
    loader.load_tiktoken_bpe = lambda path: dict(ranks)
    try:
        yield
    finally:
        loader.load_tiktoken_bpe = original


def read_ranks(ranks: Mapping[bytes, int], split: str, *, composes: bool) -> tuple[Encode, Decode]:
    encoding = load("tiktoken").Encoding(
        "checkpoint", pat_str=split, mergeable_ranks=dict(ranks), special_tokens={}
    )

    def encode(text: str) -> list[int]:
        text = unicodedata.normalize("NFC", text) if composes else text
        ids: list[int] = encoding.encode_ordinary(text)
        return ids

    return encode, lambda ids: str(encoding.decode(list(ids)))


def from_merges(
    vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]], *, composes: bool, **how: bool
) -> str:
    """tokenizer.json of GPT-2's files, without special tokens."""
    converters = load("transformers.convert_slow_tokenizer")
    converter = converters.Qwen2Converter if composes else converters.GPT2Converter
    # It takes empty values from the slow tokenizer, and there may be no merges.
    slow = SimpleNamespace(encoder=vocabulary, bpe_ranks=dict.fromkeys(merges), **how)
    return str(converter(slow).converted(dict(vocabulary), list(merges)).to_str())


def splitter(pattern: str) -> Callable[[str], list[str]]:
    """The matches of a pattern, in the syntax of the `regex` library, in a text."""
    found: Callable[[str], list[str]] = load("regex").compile(pattern).findall
    return found


def load(name: str) -> Any:
    try:
        # transformers warns at import that PyTorch is missing, which is not needed here.
        logging.disable(logging.WARNING)
        return import_module(name)
    except ImportError as error:
        missing = (error.name or name).split(".")[0]
        raise ConverterMissing(missing, sys.executable) from error
    finally:
        logging.disable(logging.NOTSET)
