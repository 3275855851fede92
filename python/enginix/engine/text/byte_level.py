"""Byte-level BPE as GPT-2's authors wrote it: the reference for conversions.

transformers 5 no longer has its own tokenizer for these files, only the library's.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from itertools import pairwise

from enginix.engine.text import libraries
from enginix.engine.text.families import MergesRules
from enginix.engine.text.probes import Decode, Encode


def byte_level(
    rules: MergesRules,
    vocabulary: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    *,
    spaced: bool,
) -> tuple[Encode, Decode]:
    split = libraries.splitter(rules.split)
    ranks = {pair: rank for rank, pair in reversed(list(enumerate(merges)))}
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    shifted = [byte for byte in range(256) if byte not in printable]
    sign = {byte: chr(byte) for byte in printable} | {
        b: chr(256 + n) for n, b in enumerate(shifted)
    }
    byte_of = {char: byte for byte, char in sign.items()}
    texts = {number: token for token, number in vocabulary.items()}

    def encode(text: str) -> list[int]:
        text = unicodedata.normalize("NFC", text) if rules.composes else text
        text = f" {text}" if spaced and text and not text.startswith(" ") else text
        words = ([sign[byte] for byte in word.encode()] for word in split(text))
        return [vocabulary[part] for word in words for part in _merged(word, ranks)]

    def decode(ids: Sequence[int]) -> str:
        return bytes(byte_of[char] for n in ids for char in texts[n]).decode(errors="replace")

    return encode, decode


def _merged(word: list[str], ranks: Mapping[tuple[str, str], int]) -> list[str]:
    while len(word) > 1:
        pairs = enumerate(pairwise(word))
        rank, at = min((ranks.get(pair, len(ranks)), place) for place, pair in pairs)
        if rank == len(ranks):
            break
        word = [*word[:at], word[at] + word[at + 1], *word[at + 2 :]]
    return word
