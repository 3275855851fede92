"""Limits of named keys, by a simulated clock: exact, across workers, and whatever ends a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import enginix
from enginix.errors import RateLimited, RequestError
from enginix.gateway.keys.key import Key, digest_of
from enginix.gateway.keys.ledger import FILE, MAX_WORKERS, ROW, Ledger, forget_counts
from enginix.gateway.keys.limits import KeyLimits, duration, limit_headers
from enginix.gateway.models.record import RequestRecord

# A worker that is killed while it holds the file's lock, and has a request running.
KILLED = """
import os, signal, sys
from enginix.gateway.keys.key import digest_of
from enginix.gateway.keys.ledger import Ledger
ledger = Ledger(sys.argv[1])
with ledger.row(digest_of("alice")) as row:
    row.count(1)
with ledger.row(digest_of("alice")) as row:
    os.kill(os.getpid(), signal.SIGKILL)
"""
CHILD = {**os.environ, "PYTHONPATH": str(Path(enginix.__file__).parents[1])}


@dataclass
class Clock:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Place:
    """Several workers of one gateway, in this process."""

    directory: str
    count: int
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.workers = [KeyLimits(self.directory, self.clock) for _ in range(self.count)]

    def ask(self, key: Key, worker: int = 0, prompt: int = 1, answer: int = 0) -> RequestRecord:
        record = RequestRecord("id", self.clock.now, key=key, prompt_tokens=prompt)
        with self.workers[worker].held(record, key):
            record.completion_tokens = answer
        return record

    def admits(self, key: Key, worker: int = 0, prompt: int = 1) -> bool:
        try:
            self.ask(key, worker, prompt)
        except RateLimited:
            return False
        return True


@contextmanager
def workers(count: int = 1) -> Iterator[Place]:
    with TemporaryDirectory() as directory:
        place = Place(directory, count)
        try:
            yield place
        finally:
            for each in place.workers:
                each.close()


def key(name: str = "alice", **limits: int) -> Key:
    return Key(name, digest_of(name), **limits)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=60)
@given(
    limit=st.integers(1, 50),
    steps=st.lists(st.tuples(st.integers(0, 2), st.floats(0, 30)), min_size=1, max_size=120),
)
def test_no_window_of_time_gets_more_requests_than_the_bucket_holds(
    limit: int, steps: list[tuple[int, float]]
) -> None:
    alice = key(requests_per_minute=limit)
    admitted: list[float] = []
    with workers(3) as place:
        for worker, pause in steps:
            place.clock.now += pause
            before = len([at for at in admitted if at == place.clock.now])
            if place.admits(alice, worker):
                admitted.append(place.clock.now)
            else:
                # It is refused only where one more would be too many.
                since = [place.clock.now - at for at in admitted]
                assert before or since
                assert any(
                    len([t for t in since if t <= window]) + 1 > limit * (1 + window / 60) - 1e-3
                    for window in since
                )
    for place_of, start in enumerate(admitted):
        for end in admitted[place_of:]:
            inside = [at for at in admitted if start <= at <= end]
            assert len(inside) <= limit * (1 + (end - start) / 60) + 1e-3


@settings(deadline=None, max_examples=60)
@given(
    limit=st.integers(100, 5000),
    steps=st.lists(
        st.tuples(st.integers(0, 1), st.floats(0, 40), st.integers(1, 100), st.integers(0, 3000)),
        min_size=1,
        max_size=60,
    ),
)
def test_tokens_may_be_overdrawn_by_answers_and_are_then_made_up_for(
    limit: int, steps: list[tuple[int, float, int, int]]
) -> None:
    alice = key(tokens_per_minute=limit)
    with workers(2) as place:
        left, at = float(limit), place.clock.now
        for worker, pause, prompt, answer in steps:
            place.clock.now += pause
            left, at = min(limit, left + (place.clock.now - at) * limit / 60), place.clock.now
            try:
                place.ask(alice, worker, prompt, answer)
            except RateLimited as refusal:
                assert left < prompt + 1e-3
                # After exactly the time that it was told, the same request is admitted.
                place.clock.now += refusal.retry_after + 0.001
                left = min(limit, left + (refusal.retry_after + 0.001) * limit / 60)
                at = place.clock.now
                place.ask(alice, worker, prompt, answer)
            else:
                assert left > prompt - 1e-3
            left -= prompt + answer


def test_running_requests_are_counted_in_all_workers() -> None:
    alice, bob = key(max_running=2), key("bob", max_running=1)
    with workers(3) as place, ExitStack() as running:
        for worker in (0, 1):
            record = RequestRecord("id", 0.0, key=alice)
            running.enter_context(place.workers[worker].held(record, alice))
        assert [place.admits(alice, worker) for worker in range(3)] == [False] * 3
        assert place.admits(bob, 2)
        running.close()
        assert [place.admits(alice, worker) for worker in range(3)] == [True] * 3


def test_a_killed_worker_leaves_no_running_counts_behind() -> None:
    alice = key(max_running=1)
    with workers(1) as place:
        child = subprocess.Popen([sys.executable, "-c", KILLED, place.directory], env=CHILD)
        assert child.wait() == -signal.SIGKILL
        assert not place.admits(alice)
        forget_counts(child.pid, place.directory)
        assert place.admits(alice)
        forget_counts(child.pid, place.directory)
        forget_counts(child.pid, "/nowhere")


def test_a_worker_that_ends_gives_its_place_to_the_next(tmp_path: Path) -> None:
    for _ in range(2 * MAX_WORKERS):
        Ledger(str(tmp_path)).close()
    ledgers = [Ledger(str(tmp_path)) for _ in range(MAX_WORKERS)]
    for ledger in ledgers:
        ledger.close()


def test_keys_that_one_worker_has_seen_first_are_the_same_row_for_another(tmp_path: Path) -> None:
    one, two = Ledger(str(tmp_path)), Ledger(str(tmp_path))
    names = [digest_of(str(number)) for number in range(50)]
    for place, name in enumerate(names):
        with (one if place % 2 else two).row(name) as row:
            row.requests = float(place)
    for ledger in (one, two):
        for place, name in enumerate(names):
            with ledger.row(name) as row:
                assert row.requests == place
    assert ((tmp_path / FILE).stat().st_size) % ROW == (4 * MAX_WORKERS) % ROW
    one.close()
    two.close()


def test_a_request_may_outlast_the_gateway() -> None:
    alice = key(max_running=1)
    with workers(1) as place:
        limits = KeyLimits(place.directory, place.clock)
        with limits.held(RequestRecord("id", 0.0, key=alice), alice):
            limits.close()
        assert place.admits(alice)


def test_a_changed_limit_applies_at_once_and_forgives_nothing() -> None:
    with workers() as place:
        assert [place.admits(key(requests_per_minute=4)) for _ in range(5)] == [True] * 4 + [False]
        assert not place.admits(key(requests_per_minute=2))
        place.clock.now += 60
        assert place.admits(key(requests_per_minute=2))


def test_a_refusal_says_which_limit_and_how_long() -> None:
    with workers() as place:
        alice = key(requests_per_minute=6)
        for _ in range(6):
            place.ask(alice)
        with pytest.raises(RateLimited) as caught:
            place.ask(alice)
    assert str(caught.value) == (
        "rate limit reached for key 'alice': 6 requests per minute; please try again in 10s"
    )
    assert (caught.value.code, caught.value.retry_after) == ("rate_limit_exceeded", 10.0)


def test_a_prompt_above_the_whole_minute_is_no_error_to_try_again() -> None:
    with workers() as place, pytest.raises(RequestError, match="send a shorter prompt") as caught:
        place.ask(key(tokens_per_minute=10), prompt=11)
    assert not isinstance(caught.value, RateLimited)


def test_a_request_that_falls_back_to_another_way_is_counted_once() -> None:
    alice = key(requests_per_minute=5, tokens_per_minute=1000)
    with workers() as place:
        record = RequestRecord("id", 0.0, key=alice, prompt_tokens=10)
        for _ in range(3):
            with place.workers[0].held(record, alice):
                pass
        assert record.standing is not None
    left = {what: standing.left for what, standing in record.standing.items()}
    assert left == {"requests": 4, "tokens": 990}


def test_headers_are_those_that_each_clients_read() -> None:
    with workers() as place:
        alice = key(requests_per_minute=10, tokens_per_minute=600)
        standing = place.ask(alice, prompt=20).standing
    assert standing is not None
    assert limit_headers(standing, anthropic=False) == {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "9",
        "x-ratelimit-reset-requests": "6s",
        "x-ratelimit-limit-tokens": "600",
        "x-ratelimit-remaining-tokens": "580",
        "x-ratelimit-reset-tokens": "2s",
    }
    found = limit_headers(standing, anthropic=True)
    assert found["anthropic-ratelimit-requests-remaining"] == "9"
    assert found["anthropic-ratelimit-tokens-reset"].endswith("Z")


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "0s"),
        (0.0002, "1ms"),
        (0.12, "120ms"),
        (1, "1s"),
        (1.5, "1.5s"),
        (59.999, "1m0s"),
        (360, "6m0s"),
        (3723.25, "1h2m3.25s"),
    ],
)
def test_a_duration_is_written_as_openai_writes_it(seconds: float, written: str) -> None:
    assert duration(seconds) == written
