"""The wait before a restart grows, ends growing, and is forgotten by good service."""

from __future__ import annotations

from enginix.serve.backoff import Backoff


def test_the_first_restart_comes_at_once_and_the_next_ones_ever_later() -> None:
    backoff = Backoff(first=1, most=60)
    assert [backoff.delay(failures) for failures in range(1, 7)] == [0, 1, 2, 4, 8, 16]


def test_the_wait_has_a_cap_however_many_failures() -> None:
    assert Backoff(most=60).delay(10_000) == 60


def test_a_long_time_of_good_service_makes_up_for_earlier_failures() -> None:
    backoff = Backoff(stable=60)
    assert backoff.count(5, served=59) == 6
    assert backoff.count(5, served=60) == 1
