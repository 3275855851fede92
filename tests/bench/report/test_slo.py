"""Which answers count as goodput."""

from __future__ import annotations

import pytest

from enginix.bench.answer import Answer
from enginix.bench.report.slo import parse_slo
from enginix.errors import UsageError


def answer(*arrivals: float, tokens: int | None = None, failure: str | None = None) -> Answer:
    return Answer(arrivals=list(arrivals), ended=2.0, output_tokens=tokens, failure=failure)


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("ttft=500ms", True),
        ("ttft=0.4s", True),
        ("ttft=399ms", False),
        ("itl=50ms", True),
        ("itl=49ms", False),
        ("e2e=2s", True),
        ("e2e=1999ms", False),
        ("ttft=500ms, itl=50ms", True),
        ("ttft=500ms,itl=49ms", False),
    ],
)
def test_an_answer_meets_its_objectives_or_not(text: str, met: bool) -> None:
    # The first token after 400 ms, then 10 tokens in 500 ms, two in each event.
    arrivals = [0.4 + 0.1 * number for number in range(6)]

    assert parse_slo(text).met_by(answer(*arrivals, tokens=11)) is met


def test_a_failed_answer_meets_nothing() -> None:
    assert not parse_slo("ttft=9s").met_by(answer(0.1, failure="HTTP 503: full"))


def test_an_answer_of_one_token_has_no_time_between_tokens_to_miss() -> None:
    assert parse_slo("itl=1ms").met_by(answer(0.1))


@pytest.mark.parametrize("text", ["", "ttft", "ttft=500", "ttft=fast", "tps=5ms", "ttft=1s;itl=1s"])
def test_another_objective_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="for example ttft=500ms,itl=50ms"):
        parse_slo(text)
