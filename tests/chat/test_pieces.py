"""Compares our text of tokens with the library's own decoders."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models

from enginix.chat.tokens import Tokenizer
from enginix.errors import EngineDamaged

WORDS = ["<unk>", "▁", "▁Hello", "▁▁", "world", "!", "▁new▁line", "é", "▁<0x", "<0xZZ>", "👋"]
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]
SENTENCE_PIECE = decoders.Sequence(
    [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
)
LLAMA = decoders.Sequence(
    [
        decoders.Replace("▁", " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
        decoders.Strip(" ", 1, 0),
    ]
)


def library(decoder: object) -> tokenizers.Tokenizer:
    vocabulary = {name: index for index, name in enumerate(WORDS + BYTE_TOKENS)}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer.decoder = decoder
    tokenizer.add_special_tokens([AddedToken("<s>", special=True)])
    return tokenizer


def streamed(tokenizer: Tokenizer, ids: list[int], chunk: int = 1) -> str:
    stream = tokenizer.stream()
    parts = [stream.feed(ids[start : start + chunk]) for start in range(0, len(ids), chunk)]
    return "".join(parts)


def ids_of(reference: tokenizers.Tokenizer, *names: str) -> list[int]:
    return [reference.token_to_id(name) for name in names]


every_decoder = pytest.mark.parametrize(
    "decoder",
    [SENTENCE_PIECE, LLAMA, decoders.Metaspace(), decoders.Metaspace(prepend_scheme="never")],
    ids=["sentence-piece", "llama", "metaspace", "metaspace-never"],
)


@every_decoder
@given(names=st.lists(st.sampled_from([*WORDS, "<s>"])), chunk=st.integers(1, 4))
def test_text_is_what_the_library_decodes(decoder: object, names: list[str], chunk: int) -> None:
    reference = library(decoder)
    ids = ids_of(reference, *names)
    assert streamed(Tokenizer(reference), ids, chunk) == reference.decode(ids)


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
@pytest.mark.parametrize("decoder", [SENTENCE_PIECE, LLAMA], ids=["sentence-piece", "llama"])
def test_byte_tokens_join_to_characters(decoder: object, text: str) -> None:
    reference = library(decoder)
    ids = ids_of(reference, *(f"<0x{byte:02X}>" for byte in text.encode()))
    assert streamed(Tokenizer(reference), ids) == reference.decode(ids)


def test_a_complete_character_before_broken_bytes_is_kept() -> None:
    reference = library(SENTENCE_PIECE)
    ids = ids_of(reference, "<0xC3>", "<0xA9>", "<0xFF>", "world")
    assert streamed(Tokenizer(reference), ids) == "é�world"


def test_a_reply_that_continues_the_prompt_keeps_its_first_space() -> None:
    reference = library(LLAMA)
    ids = ids_of(reference, "<s>", "▁Hello", "▁Hello")
    tokenizer = Tokenizer(reference)
    assert tokenizer.stream().feed(ids) == "Hello Hello"
    assert tokenizer.stream(continues=True).feed(ids) == " Hello Hello"


@pytest.mark.parametrize(
    "unreadable",
    [
        lambda: decoders.WordPiece(),
        lambda: decoders.CTC(),
        lambda: decoders.Sequence([decoders.Fuse(), decoders.Strip("x", 2, 2)]),
        lambda: None,
    ],
    ids=["word-piece", "ctc", "other-sequence", "none"],
)
def test_an_unsupported_decoder_is_refused_by_name(
    unreadable: Callable[[], object],
) -> None:
    reference = tokenizers.Tokenizer(models.BPE({"a": 0}, []))
    if decoder := unreadable():
        reference.decoder = decoder
    with pytest.raises(EngineDamaged, match="enginix supports ByteLevel"):
        Tokenizer(reference)
