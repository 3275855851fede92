"""Sampling options without a meaning are refused before anything is generated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from llama_cpp import LlamaError
from sampling import BadWords, Sampling, check_sampling

VOCABULARY = 8


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": -1.0}, "temperature is -1; expected 0 to"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"top_p": 1.5}, "top_p is 1.5; expected 0 to 1"),
        ({"min_p": -0.5}, "min_p is -0.5"),
        ({"top_k": -1}, "top_k is -1; expected at least 0"),
        ({"min_tokens": -1}, "min_tokens is -1"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0"),
        ({"presence_penalty": float("nan")}, "presence_penalty is nan"),
        ({"bias": np.zeros(9, np.float32)}, "embedding_bias has 9 values, this model 8 tokens"),
        ({"bias": np.full(8, np.nan, np.float32)}, "is not a number"),
    ],
)
def test_a_value_without_meaning_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(LlamaError, match=words):
        check_sampling(Sampling(**options), VOCABULARY)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0},
        {"bias": np.zeros(5, np.float32)},
        {"bias": np.full(8, -np.inf, np.float32)},
    ],
)
def test_a_value_with_meaning_is_accepted(options: dict[str, Any]) -> None:
    check_sampling(Sampling(**options), VOCABULARY)


@pytest.mark.parametrize(
    ("options", "greedy"),
    [
        ({}, True),
        ({"temperature": 0.0, "top_p": 0.5}, True),
        ({"temperature": 1.0, "top_k": 1}, True),
        ({"temperature": 1.0}, False),
        ({"top_k": 5}, False),
        ({"top_p": 0.5}, False),
    ],
)
def test_only_an_option_that_asks_for_a_choice_gets_one(
    options: dict[str, Any], greedy: bool
) -> None:
    assert Sampling(**options).is_greedy is greedy


def test_a_bad_token_is_never_next() -> None:
    assert BadWords([[3]]).next() == [3]


def test_a_bad_words_last_token_may_not_follow_the_others() -> None:
    words = BadWords([[1, 2, 3]])
    words.accept(1)
    assert words.next() == []
    words.accept(2)
    assert words.next() == [3]


def test_another_token_in_between_makes_a_bad_word_harmless() -> None:
    words = BadWords([[1, 2]])
    words.accept(1)
    words.accept(5)
    assert words.next() == []
