"""Windows score every token of a text once, with what came before it; perplexity is their mean."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginix.accuracy.windows import Size, Window, perplexity, window_size, windows
from enginix.errors import PerplexityInvalid, UsageError

BEGIN = 9999


@given(
    tokens=st.integers(16, 400),
    context=st.integers(16, 200),
    data=st.data(),
    prefix=st.sampled_from([(), (BEGIN,)]),
)
def test_every_token_is_scored_once_after_the_text_before_it(
    tokens: int, context: int, data: st.DataObject, prefix: tuple[int, ...]
) -> None:
    stride = data.draw(st.integers(1, context - 1))
    ids = list(range(tokens))

    found = windows(ids, prefix, Size(context, stride))

    scored = [token for window in found for token in window.ids[window.first :]]
    assert scored == ids[0 if prefix else 1 :]
    for window in found:
        assert 1 <= window.first < len(window.ids) <= context
        assert tuple(window.ids[: len(prefix)]) == prefix
        text = list(window.ids[len(prefix) :])
        assert text == list(range(text[0], text[0] + len(text)))


def test_windows_overlap_by_what_the_stride_leaves() -> None:
    first, second = windows(range(20), (), Size(16, 8))

    assert first == Window(list(range(16)), 1)
    assert second == Window(list(range(8, 20)), 8)
    assert (first.scored, second.scored) == (15, 4)


def test_a_text_of_a_few_tokens_is_refused() -> None:
    with pytest.raises(UsageError, match="the text has 15 tokens, expected at least 16; name a"):
        windows(range(15), (), Size(512, 256))


def test_a_model_that_reads_less_than_the_default_gets_smaller_windows() -> None:
    assert window_size(None, None, None) == Size(512, 256)
    assert window_size(None, None, 40960) == Size(512, 256)
    assert window_size(None, None, 100) == Size(100, 50)
    assert window_size(64, 16, 100) == Size(64, 16)


@pytest.mark.parametrize(
    ("context", "stride", "why"),
    [
        (101, None, "--context 101: the model reads at most 100 tokens"),
        (15, None, "--context 15: expected at least 16 tokens"),
        (32, 32, "--stride 32: expected less than the context of 32 tokens"),
    ],
)
def test_windows_that_cannot_be_are_refused(context: int, stride: int | None, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        window_size(context, stride, 100)


def test_perplexity_is_the_number_of_tokens_among_which_the_model_hesitates() -> None:
    assert perplexity(10 * math.log(1 / 4), 10, "it") == 4


@pytest.mark.parametrize("logprob", [math.nan, -math.inf, -1e6])
def test_a_model_that_computes_no_probabilities_is_an_error(logprob: float) -> None:
    with pytest.raises(PerplexityInvalid, match="model computes no probabilities"):
        perplexity(logprob, 10, "model")
