from __future__ import annotations

import codecs
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tokenizers
from chat.speech import DEMO
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken

from enginix.chat.tokens import LONG_TEXT, Tokenizer
from enginix.errors import EngineDamaged

REFERENCE = tokenizers.Tokenizer.from_file(str(DEMO / "tokenizer.json"))
TOKENIZER = Tokenizer.load(DEMO)
VOCABULARY = REFERENCE.get_vocab_size()
FAMILY = "👨‍👩‍👧‍👦🏳️‍🌈é\u0301 naïve 你好 👋"

BYTE_TOKENS = {TOKENIZER.bytes_of(token): token for token in range(300)}

any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def byte_token(byte: int) -> int:
    return BYTE_TOKENS[bytes([byte])]


def streamed(ids: list[int], chunk: int = 1) -> str:
    stream = TOKENIZER.stream()
    parts = [stream.feed(ids[start : start + chunk]) for start in range(0, len(ids), chunk)]
    return "".join(parts)


@given(text=any_text, chunk=st.integers(1, 5))
@example(text=FAMILY, chunk=1)
def test_streamed_text_is_the_text_that_was_tokenized(text: str, chunk: int) -> None:
    ids = REFERENCE.encode(text, add_special_tokens=False).ids
    assert streamed(ids, chunk) == REFERENCE.decode(ids)


@given(ids=st.lists(st.integers(0, VOCABULARY - 1), max_size=60), chunk=st.integers(1, 5))
def test_any_ids_give_what_decoding_all_at_once_gives(ids: list[int], chunk: int) -> None:
    # Broken UTF-8 of every kind is in here: most demo tokens are single bytes or pieces of words.
    text, whole = streamed(ids, chunk), REFERENCE.decode(ids)
    assert text == TOKENIZER.decode(ids)
    assert text in (whole, whole.removesuffix("�"))


@given(data=st.binary(max_size=40))
def test_any_bytes_give_what_decoding_all_at_once_gives(data: bytes) -> None:
    ids = [byte_token(byte) for byte in data]
    whole, _ = codecs.utf_8_decode(data, "replace", False)
    assert streamed(ids) == whole


def test_no_replacement_character_is_sent_for_a_split_emoji() -> None:
    stream = TOKENIZER.stream()
    parts = [stream.feed([byte_token(byte)]) for byte in "👋".encode()]
    assert parts == ["", "", "", "👋"]


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_an_incomplete_character_at_the_end_is_dropped_and_not_replaced(cut: int) -> None:
    ids = [byte_token(byte) for byte in "a👋".encode()[: 1 + cut]]
    assert streamed(ids) == TOKENIZER.decode(ids) == "a"


def test_bytes_that_never_become_a_character_do_not_delay_text() -> None:
    stream = TOKENIZER.stream()
    assert [stream.feed([byte_token(0xFF)]) for _ in range(5)] == ["�"] * 5


def test_leading_spaces_are_kept() -> None:
    assert streamed(TOKENIZER.encode("  two spaces")) == "  two spaces"


def test_special_tokens_leave_no_text() -> None:
    ids = TOKENIZER.encode("<|im_start|>Hi<|im_end|><|endoftext|>")
    assert streamed(ids) == "Hi"


def test_ids_outside_the_vocabulary_leave_no_text() -> None:
    assert streamed([VOCABULARY + 5, -1, 2**40, *TOKENIZER.encode("Hi")]) == "Hi"


def test_tokens_a_format_is_made_of_stay_even_when_they_are_special() -> None:
    library = tokenizers.Tokenizer.from_file(str(DEMO / "tokenizer.json"))
    library.add_special_tokens([AddedToken("[TOOL_CALLS]", special=True)])
    tokenizer = Tokenizer(library)
    ids = [tokenizer.token_id("[TOOL_CALLS]") or 0, *tokenizer.encode("x<|im_end|>")]
    assert tokenizer.stream().feed(ids) == "[TOOL_CALLS]x"
    assert tokenizer.stream(keep={"[TOOL_CALLS]"}).feed(ids) == "[TOOL_CALLS]x"
    assert tokenizer.stream(keep=()).feed(ids) == "x"
    assert tokenizer.decode(ids) == "x"


def test_one_tokenizer_serves_many_threads() -> None:
    tokenizer = Tokenizer.load(DEMO)
    ids = tokenizer.encode(FAMILY * 20)

    def read(_: int) -> str:
        stream = tokenizer.stream()
        return "".join(stream.feed([token]) for token in ids)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(read, range(32))) == {REFERENCE.decode(ids)}


@given(text=any_text)
def test_encoding_is_the_library_s(text: str) -> None:
    assert TOKENIZER.encode(text) == REFERENCE.encode(text, add_special_tokens=False).ids


def test_a_long_text_is_encoded_as_a_short_one_is() -> None:
    text = FAMILY * (LONG_TEXT // 10)
    assert TOKENIZER.encode(text) == REFERENCE.encode(text).ids


def test_a_lone_surrogate_in_a_prompt_is_replaced() -> None:
    assert TOKENIZER.encode("a\ud800b") == TOKENIZER.encode("a�b")


def test_a_limit_in_the_tokenizer_does_not_cut_prompts() -> None:
    library = tokenizers.Tokenizer.from_file(str(DEMO / "tokenizer.json"))
    library.enable_truncation(4)
    library.enable_padding(length=64)
    assert len(Tokenizer(library).encode("one two three four five six")) in range(5, 64)


def with_bos() -> Tokenizer:
    library = tokenizers.Tokenizer.from_file(str(DEMO / "tokenizer.json"))
    bos = library.token_to_id("<|endoftext|>")
    library.post_processor = tokenizers.processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", bos)]
    )
    return Tokenizer(library, bos_token_id=bos)


def test_a_rendered_chat_gets_no_second_first_token() -> None:
    tokenizer = with_bos()
    bos, plain = [tokenizer.bos_token_id], tokenizer.encode("Hi")
    assert tokenizer.encode("<|endoftext|>Hi") == bos + plain


def test_a_bare_prompt_gets_the_first_token_once() -> None:
    tokenizer = with_bos()
    once = [tokenizer.bos_token_id, *tokenizer.encode("Hi")]
    assert tokenizer.encode("Hi", add_special_tokens=True) == once
    assert tokenizer.encode("<|endoftext|>Hi", add_special_tokens=True) == once


def test_end_tokens_come_from_the_generation_config_first() -> None:
    assert TOKENIZER.stop_token_ids == (2014, 2012)


def test_the_end_token_of_the_tokenizer_config_counts_without_a_generation_config(
    tmp_path: Path,
) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEMO / name, tmp_path)
    assert Tokenizer.load(tmp_path).stop_token_ids == (2014,)


def test_a_missing_tokenizer_is_named() -> None:
    with pytest.raises(EngineDamaged, match=r"tokenizer\.json is missing"):
        Tokenizer.load(Path("/nowhere"))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model": 1}', "\0" * 20])
def test_a_broken_tokenizer_is_reported_without_a_traceback(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(EngineDamaged, match="cannot be read"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("content", ["{", "[1]", "\0"])
def test_a_broken_configuration_file_is_named(tmp_path: Path, content: str) -> None:
    shutil.copy(DEMO / "tokenizer.json", tmp_path)
    (tmp_path / "generation_config.json").write_text(content)
    with pytest.raises(EngineDamaged, match="generation_config"):
        Tokenizer.load(tmp_path)


def test_odd_end_tokens_in_the_configuration_are_passed_over(tmp_path: Path) -> None:
    shutil.copy(DEMO / "tokenizer.json", tmp_path)
    odd = {"eos_token_id": [None, "x", 2014, 2014, True]}
    (tmp_path / "generation_config.json").write_text(json.dumps(odd))
    assert Tokenizer.load(tmp_path).stop_token_ids == (2014,)
