"""Compares every tokenizer we ship with transformers' AutoTokenizer."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import pytest
from chat.oracle import SHIPPED, transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from enginix.chat.template import ChatTemplate
from enginix.chat.tokens import Tokenizer
from enginix.engine.text.probes import LEADING, PROBES

every_tokenizer = pytest.mark.parametrize("name", SHIPPED)
SPECIALS = [
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>",
    "<tool_call>\n{}\n</tool_call><|endoftext|><|im_end|> x <|im_end|><|im_end",
]
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@cache
def theirs(name: str) -> Any:
    return transformers().AutoTokenizer.from_pretrained(SHIPPED[name], local_files_only=True)


@cache
def ours(name: str) -> Tokenizer:
    return Tokenizer.load(SHIPPED[name])


def shown(name: str, ids: list[int], *, special: bool) -> str:
    text = theirs(name).decode(
        ids, skip_special_tokens=not special, clean_up_tokenization_spaces=False
    )
    assert isinstance(text, str)
    return text


def streamed(name: str, ids: list[int], chunk: int) -> str:
    stream = ours(name).stream(keep=())
    return "".join(stream.feed(ids[at : at + chunk]) for at in range(0, len(ids), chunk))


@every_tokenizer
@pytest.mark.parametrize("special", [False, True])
def test_texts_have_the_ids_of_transformers(name: str, special: bool) -> None:
    for text in (*PROBES, *LEADING, *SPECIALS, "x " * 10_000):
        expected = theirs(name)(text, add_special_tokens=special)["input_ids"]
        bos = theirs(name).bos_token
        if special and bos and text.startswith(bos):
            # transformers begins such a text twice.
            expected = expected[1:]
        assert ours(name).encode(text, add_special_tokens=special) == expected


@every_tokenizer
@settings(max_examples=50)
@given(text=any_text)
def test_any_text_has_the_ids_of_transformers(name: str, text: str) -> None:
    assert ours(name).encode(text) == theirs(name)(text, add_special_tokens=False)["input_ids"]


@every_tokenizer
def test_ids_decode_like_transformers_at_once_and_token_by_token(name: str) -> None:
    for text in (*PROBES, *LEADING, *SPECIALS):
        ids = ours(name).encode(text)
        expected = shown(name, ids, special=False)
        assert ours(name).decode(ids, keep=()) == expected
        for chunk in (1, 2, 7):
            assert streamed(name, ids, chunk) == expected


@every_tokenizer
def test_broken_sequences_have_the_text_of_transformers(name: str) -> None:
    numbers = random.Random(11)
    size = ours(name).vocabulary_size
    for _ in range(300):
        # Mostly single bytes, so halves of characters and what never becomes one.
        ids = [
            numbers.randrange(numbers.choice([256, size])) for _ in range(numbers.randint(1, 30))
        ]
        expected = shown(name, ids, special=False)
        made = ours(name).decode(ids, keep=())
        # A character that the answer's end cut in two is left out.
        assert made in (expected, expected.removesuffix("�"))
        assert streamed(name, ids, 1) == made


@every_tokenizer
def test_special_tokens_and_their_roles_are_those_of_transformers(name: str) -> None:
    reference = theirs(name)
    for token, number in reference.get_added_vocab().items():
        assert ours(name).token_id(token) == number
        assert ours(name).bytes_of(number) == token.encode()
        assert ours(name).decode([number], keep=()) == shown(name, [number], special=False)
    assert ours(name).stop_token_ids[0] == reference.eos_token_id
    assert ours(name).bos_token_id == reference.bos_token_id


@every_tokenizer
def test_a_chat_becomes_the_ids_of_transformers(name: str) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "é 👋"}]
    text = ChatTemplate.load(SHIPPED[name]).render(messages)
    expected = theirs(name).apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True
    )
    assert ours(name).encode(text) == expected["input_ids"]
