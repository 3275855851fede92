"""Statistics of known event times."""

from __future__ import annotations

from dataclasses import astuple

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginix.bench.answer import Answer
from enginix.bench.load import Level, Run
from enginix.bench.summary import Spread, percentile, remarks, spread, summarized


def answer(*arrivals: float, tokens: int | None = None, failure: str | None = None) -> Answer:
    """Sent at 10 s; it ends 0.1 s after its last event."""
    return Answer(
        sent=10.0,
        arrivals=list(arrivals),
        ended=arrivals[-1] + 0.1 if arrivals else 10.0,
        prompt_tokens=7 if tokens else None,
        output_tokens=tokens,
        finished=True,
        failure=failure,
    )


def numbers(spread: Spread | None) -> tuple[float, ...]:
    """Mean, p50, p90 and p99."""
    assert spread
    return astuple(spread)


def run(*answers: Answer, seconds: float = 2.0, cpu_seconds: float = 0.1) -> Run:
    return Run(Level(concurrency=2), list(answers), seconds, cpu_seconds)


def test_latencies_are_those_of_the_event_times() -> None:
    level = summarized(run(answer(10.5, 10.7, 10.8, tokens=3)))

    assert numbers(level.first_token) == pytest.approx((500, 500, 500, 500))
    assert numbers(level.between_events) == pytest.approx((150, 150, 190, 199))
    assert numbers(level.per_token) == pytest.approx((150, 150, 150, 150))
    assert numbers(level.end_to_end) == pytest.approx((900, 900, 900, 900))


def test_rates_cover_the_full_time_of_the_level() -> None:
    level = summarized(run(answer(10.5, 10.7, tokens=2), answer(10.6, 10.9, tokens=2)))

    assert (level.requests_per_second, level.output_tokens_per_second) == (1.0, 2.0)
    assert level.prompt_tokens == 7


def test_several_tokens_in_an_event_count_as_the_server_counts_them() -> None:
    level = summarized(run(answer(10.5, 10.9, tokens=9)))

    assert level.output_tokens == 9
    assert numbers(level.per_token) == pytest.approx((50, 50, 50, 50))
    assert remarks(level) == ["an event has 4.5 tokens on average: see `per output token`"]


def test_events_count_as_tokens_without_usage_and_a_remark_says_so() -> None:
    level = summarized(run(answer(10.5, 10.7, 10.8)))

    assert level.output_tokens == 3
    assert remarks(level) == ["the server sends no usage: each event was counted as one token"]


def test_failed_requests_are_counted_by_message_and_excluded_from_latencies() -> None:
    failed = [answer(failure="HTTP 503: loading"), answer(10.1, failure="closed")]
    level = summarized(run(answer(10.5, 10.7, tokens=2), *failed, failed[0]))

    assert (level.ok, level.failed) == (1, 3)
    assert level.errors == {"HTTP 503: loading": 2, "closed": 1}
    assert numbers(level.first_token) == pytest.approx((500, 500, 500, 500))
    assert level.output_tokens == 2


def test_cached_and_accepted_tokens_are_averages_of_those_that_tell() -> None:
    one, two, silent = (answer(10.5, 10.7, tokens=2) for _ in range(3))
    one.cached_tokens, one.drafted_tokens, one.accepted_tokens = 4, 10, 9
    two.cached_tokens, two.drafted_tokens, two.accepted_tokens = 8, 30, 11

    level = summarized(run(one, two, silent))

    assert (level.cached_tokens, level.acceptance) == (6, 0.5)


def test_what_a_gateway_counts_for_all_requests_stands_in_for_answers_that_do_not_tell() -> None:
    one = run(answer(10.5, 10.7, tokens=2))
    one.drafts = (40, 30)

    level = summarized(one)

    assert level.acceptance == 0.75
    assert "75% of the drafted tokens were accepted" in remarks(level)


def test_a_server_that_tells_no_cached_or_drafted_tokens_has_none() -> None:
    level = summarized(run(answer(10.5, 10.7, tokens=2)))

    assert level.cached_tokens is level.acceptance is None


def test_without_a_successful_answer_there_are_no_latencies() -> None:
    level = summarized(run(answer(failure="HTTP 500: no")))

    assert level.first_token is level.between_events is level.end_to_end is None
    assert level.output_tokens_per_second == 0


def test_an_answer_of_one_token_has_a_first_token_and_no_time_per_token() -> None:
    level = summarized(run(answer(10.5, tokens=1)))

    assert level.first_token
    assert level.between_events is level.per_token is None


def test_a_client_that_was_busy_itself_says_so() -> None:
    busy = summarized(run(answer(10.5, 10.7, tokens=2), cpu_seconds=1.9))

    assert "95% of a core" in " ".join(remarks(busy))


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_percentiles_are_numpys(values: list[float], share: float) -> None:
    found = percentile(sorted(values), share)

    assert found == pytest.approx(float(numpy.percentile(values, share * 100)), abs=1e-6)


def test_no_values_have_no_spread() -> None:
    assert spread([]) is None
