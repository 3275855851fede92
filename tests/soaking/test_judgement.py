"""How a soak detects growth, deaths and wrong health checks, on made-up runs."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from benchmarks.soaking.judgement import (
    Ended,
    Health,
    deaths,
    green_while_none_comes,
    growth,
    red_while_answers_come,
    trend,
    wrong_answers,
)
from benchmarks.soaking.processes import Sample

END = 600.0
Curve = Callable[[float], float]


def samples(
    memory: Curve, *, pid: int = 1, role: str = "gateway", until: float = END
) -> list[Sample]:
    chance = random.Random(pid)
    return [
        Sample(at, pid, role, memory(at) + chance.gauss(0, 1.5), 1.0, 20, 8)
        for at in map(float, range(0, int(until), 2))
    ]


@pytest.mark.parametrize(
    "memory",
    [
        lambda at: 100 + at / 12,
        lambda at: 100 + 5 * (at // 60),
        lambda at: 100 + at / 12 + 30 * (int(at) % 40 > 35),
    ],
    ids=["a leak", "a leak in steps", "a leak under peaks"],
)
def test_steady_growth_is_found(memory: Curve) -> None:
    (sentence,) = growth(samples(memory), 0, END)
    assert "gateway (pid 1) grows" in sentence
    assert "MB of memory a minute" in sentence


@pytest.mark.parametrize(
    "memory",
    [
        lambda at: 100,
        lambda at: 100 + 80 * min(at / 60, 1),
        lambda at: 100 + 60 * min(at / 300, 1),
        lambda at: 100 + 50 * (int(at) % 60 > 50),
        lambda at: 100 + 60 * (at > 400),
        lambda at: 100 + at / 300,
    ],
    ids=["flat", "a warm-up", "a cache that is full", "peaks", "one step", "within the slack"],
)
def test_bounded_memory_is_not_growth(memory: Curve) -> None:
    assert growth(samples(memory), 0, END) == []


def test_descriptors_and_threads_are_judged_the_same_way() -> None:
    rows = [
        Sample(float(at), 1, "stub of x", 50, 50, 20 + at // 20, 8 + at // 50) for at in range(600)
    ]
    descriptors, threads = growth(rows, 0, END)
    assert "descriptors a minute" in descriptors
    assert "threads a minute" in threads


def test_a_process_that_comes_and_goes_has_no_trend() -> None:
    assert growth(samples(lambda at: at, until=150), 0, END) == []


def test_the_slope_is_not_moved_by_outliers() -> None:
    points = [(float(at), 2.0 * at + (1000 if at % 7 == 0 else 0)) for at in range(100)]
    assert trend(points).slope == pytest.approx(2.0, abs=0.5)


def test_an_ended_process_is_found_and_whether_it_was_logged() -> None:
    gone = samples(lambda at: 50, pid=2, role="stub of x", until=300)
    seen = [*samples(lambda at: 50), *gone]
    ended, unnoticed = deaths(seen, END, {"demo": 0}, [])
    assert "stub of x (pid 2) ended" in ended
    assert "unnoticed" in unnoticed
    ended, told = deaths(seen, END, {"demo": 2}, [])
    assert "started again in a run without faults: demo 2" in told
    assert deaths(seen, END, {"demo": 0}, ["stub of x"]) == []


def test_a_fork_that_looked_like_its_parent_once_has_not_died() -> None:
    fork = Sample(300.0, 3, "supervisor", 75, 58, 11, 5)
    assert deaths([*samples(lambda at: 50), fork], END, {"demo": 0}, []) == []


def test_wrong_answers_are_counted_by_kind_with_the_first_of_each() -> None:
    asked = [Ended("whole", "demo", 0, 1, wrong) for wrong in (None, "first", "second")]
    (sentence,) = wrong_answers(asked)
    assert sentence.startswith("2 of the requests of the kind 'whole' went wrong")
    assert "first" in sentence


def health(red: range) -> list[Health]:
    both = frozenset(("demo", "other"))
    return [Health(at / 2, both - {"demo"} if at // 2 in red else both, both) for at in range(120)]


def test_a_failing_health_check_during_answers_is_found() -> None:
    asked = [Ended("whole", "demo", at, at + 0.5) for at in range(60)]
    (sentence,) = red_while_answers_come(health(range(10, 15)), asked)
    assert "demo was red for 4.5 s" in sentence
    assert red_while_answers_come(health(range(10, 12)), asked) == []
    lost = [Ended("whole", "demo", at, at + 0.5, "status 503") for at in range(60)]
    assert red_while_answers_come(health(range(10, 15)), lost) == []


def test_a_passing_health_check_while_requests_hang_is_found() -> None:
    asked = [Ended("whole", "demo", 0, 50), Ended("whole", "other", 10, 11)]
    (sentence,) = green_while_none_comes(health(range(0)), asked)
    assert "demo was green for 50.0 s" in sentence
    assert green_while_none_comes(health(range(15, 48)), asked) == []
    idle = [Ended("whole", "demo", 1, 2), Ended("whole", "demo", 50, 51)]
    assert green_while_none_comes(health(range(0)), idle) == []
