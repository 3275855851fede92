"""A bound is written as 'ppl<=12', and says what was found when it is not met."""

from __future__ import annotations

import pytest

from enginix.accuracy.bounds import read_bound
from enginix.errors import AccuracyLost, UsageError
from enginix.manifest import Accuracy

ACCURACY = Accuracy(12.0, "english.txt", "00" * 32, 100, 512, 256, {"enginix": "0.1.0"})


@pytest.mark.parametrize("text", ["ppl<=12", " ppl <= 12.0 "])
def test_the_bound_itself_is_within_it(text: str) -> None:
    read_bound(text).require(ACCURACY, "demo")


def test_more_is_refused_with_both_numbers() -> None:
    with pytest.raises(AccuracyLost) as caught:
        read_bound("ppl<=11.5").require(ACCURACY, "demo")

    assert "demo has perplexity 12.00 on english.txt, expected at most 11.5" in str(caught.value)
    assert "scales or weights may be wrong" in str(caught.value)


@pytest.mark.parametrize("text", ["", "12", "ppl<12", "ppl>=12", "ppl<=", "ppl<=nan", "ppl<=0.5"])
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"expected a perplexity of at least 1, as in 'ppl<=12'"):
        read_bound(text)
