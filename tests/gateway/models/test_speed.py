"""The speed that operators see: of the last seconds and the recent requests."""

from __future__ import annotations

from fakes.clock import Clock

from enginix.gateway.models.peers import Traffic
from enginix.gateway.models.speed import Speed


def sampled(speed: Speed, clock: Clock, seconds: int, rate: int) -> None:
    for _ in range(2 * seconds):
        clock.now += 0.5
        speed.reported += rate // 2
        speed.sample(0)


def test_a_steady_stream_has_its_rate() -> None:
    clock = Clock()
    speed = Speed(clock)
    sampled(speed, clock, seconds=20, rate=100)
    assert speed.tokens_per_second(0) == 100


def test_tokens_that_no_report_has_counted_yet_count() -> None:
    clock = Clock()
    speed = Speed(clock)
    for second in range(10):
        clock.now += 1.0
        speed.sample(50 * second)
    clock.now += 1.0
    assert speed.tokens_per_second(500) == 50


def test_nothing_is_left_of_a_rate_five_seconds_after_its_end() -> None:
    clock = Clock()
    speed = Speed(clock)
    sampled(speed, clock, seconds=10, rate=100)
    sampled(speed, clock, seconds=5, rate=0)
    assert speed.tokens_per_second(0) == 0


def test_before_the_first_sample_there_is_no_rate() -> None:
    assert Speed().tokens_per_second(7) == 0


def test_the_time_to_the_first_token_is_that_of_recent_requests() -> None:
    clock = Clock()
    speed = Speed(clock)
    assert speed.first_tokens() == []
    speed.note_first_token(60.0)
    clock.now += 400.0
    for seconds in (0.1, 0.2, 9.0):
        speed.note_first_token(seconds)
    assert speed.first_tokens() == [0.1, 0.2, 9.0]
    assert Traffic(first_tokens=speed.first_tokens()).first_token_seconds == 0.2
    clock.now += 400.0
    assert speed.first_tokens() == []
    assert Traffic().first_token_seconds is None
