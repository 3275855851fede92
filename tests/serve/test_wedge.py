"""A dead part of a server is found within ten seconds, a busy server never is, on a made clock."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from random import Random

import pytest

from enginix.serve.wedge import Policy, WedgeDetector

PROBE_SECONDS = 2.0
POLICY = Policy()
NEVER = float("inf")


@dataclass
class Server:
    """Answers a request `delay` after its turn; what goes wrong is the test's to say.

    `hangs(number)`: the request of that number, real or a probe, never gets a token.
    `stalls`: spans in which nobody gets one, as while a long prompt is read.
    """

    hangs: Callable[[int, float], bool] = lambda number, now: False
    stalls: tuple[tuple[float, float], ...] = ()
    works: Callable[[float], float] = lambda now: 0.0
    waits: Callable[[float], float] = lambda now: 0.0
    delay: float = 0.05
    requests: int = 0

    def answer_at(self, now: float) -> float:
        self.requests += 1
        if self.hangs(self.requests, now):
            return NEVER
        for start, end in self.stalls:
            if start <= now < end:
                return end + self.delay
        return now + self.delay


@dataclass
class Simulation:
    server: Server
    per_second: float = 0.0
    """Real requests, each with a token for the counter when it is answered."""
    ends: float = 3600.0
    counts: bool = True
    now: float = 0.0
    probes: int = 0
    tokens: int = 0
    _waiting: list[tuple[float, float]] = field(default_factory=list)
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=count)

    def run(self) -> str | None:
        self.detector = WedgeDetector(POLICY, 0.0)
        self._at(POLICY.look_every, self._look)
        if self.per_second:
            self._at(0.0, self._ask)
        while self._events and self.now < self.ends and self.detector.verdict is None:
            self.now, _, event = heapq.heappop(self._events)
            event()
        return self.detector.verdict

    def _at(self, when: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), event))

    def _ask(self) -> None:
        answer = self.server.answer_at(self.now)
        self._waiting.append((self.now, answer))
        if answer < NEVER:
            self._at(answer, self._count)
        self._at(self.now + 1 / self.per_second, self._ask)

    def _count(self) -> None:
        self.tokens += 1

    def _look(self) -> None:
        # As the gateway tells it: one waits, and three later ones have had their first token.
        self._waiting = [
            (start, end) for start, end in self._waiting if end > self.now or start > self.now - 10
        ]
        old = [start for start, end in self._waiting if end > self.now and start < self.now - 3]
        later = (
            sum(1 for start, end in self._waiting if end <= self.now and start > old[0])
            if old
            else 0
        )
        tokens = float(self.tokens) if self.counts else None
        for _ in range(self.detector.look(self.now, tokens, later >= 3)):
            self._probe()
        self._at(self.now + self.detector.next_look, self._look)

    def _probe(self) -> None:
        self.probes += 1
        server = self.server
        number = self.detector.started(self.now, server.works(self.now), server.waits(self.now))
        answer = self.server.answer_at(self.now)
        if answer <= self.now + PROBE_SECONDS:
            self._at(answer, lambda: self.detector.answered(number, self.now))
            return
        self._at(
            self.now + PROBE_SECONDS,
            lambda: self.detector.failed(
                number,
                self.now,
                server.works(self.now),
                "no token within 2 s",
                server.waits(self.now),
            ),
        )


def every(nth: int, since: float) -> Callable[[int, float], bool]:
    return lambda number, now: now >= since and number % nth == 0


@pytest.mark.parametrize("nth", range(2, 9))
@pytest.mark.parametrize("per_second", [2, 7, 40])
@pytest.mark.parametrize("since", [30.0, 31.3])
def test_every_nth_request_hanging_is_found_within_ten_seconds_of_traffic(
    nth: int, per_second: float, since: float
) -> None:
    simulation = Simulation(Server(every(nth, since)), per_second)
    verdict = simulation.run()
    assert verdict is not None
    assert "partly dead" in verdict
    # The first that hangs is the nth at the latest.
    assert simulation.now - since <= 10 + nth / per_second


@pytest.mark.parametrize("nth", range(2, 9))
def test_without_traffic_probes_find_it_by_themselves(nth: int) -> None:
    simulation = Simulation(Server(every(nth, 30.0)))
    assert simulation.run()
    assert simulation.now - 30 <= 8 * POLICY.probe_every + 10


@pytest.mark.parametrize("seed", range(10))
def test_a_random_eighth_of_all_requests_hanging_is_found(seed: int) -> None:
    random = Random(seed)
    simulation = Simulation(Server(lambda number, now: random.random() < 1 / 8), per_second=10)
    assert simulation.run()
    assert simulation.now <= 40


@pytest.mark.parametrize("per_second", [0, 5, 50])
def test_an_hour_of_healthy_traffic_ends_nothing(per_second: float) -> None:
    assert Simulation(Server(), per_second).run() is None


@pytest.mark.parametrize("per_second", [0, 5, 50])
def test_an_hour_with_prompts_that_take_a_minute_ends_nothing(per_second: float) -> None:
    stalls = tuple((float(start), start + 60.0) for start in range(30, 3500, 90))

    def works(now: float) -> float:
        return sum(max(0.0, min(end, now) - start) for start, end in stalls)

    assert Simulation(Server(stalls=stalls, works=works), per_second).run() is None


def test_long_prompts_that_short_ones_overtake_end_nothing() -> None:
    """One request in ten waits 60 s for its token while others, and all probes, are answered."""

    @dataclass
    class Chunked(Server):
        probing: bool = False

        def answer_at(self, now: float) -> float:
            self.requests += 1
            return now + (60.0 if self.requests % 10 == 0 and not self.probing else self.delay)

    server = Chunked()
    simulation = Simulation(server, per_second=5)
    send = simulation._probe

    def probe() -> None:
        server.probing = True
        send()
        server.probing = False

    simulation._probe = probe  # type: ignore[method-assign]
    assert simulation.run() is None
    # A suspicion that stays is looked into ever more rarely.
    assert simulation.probes < 3600 / POLICY.longest_pause * sum(POLICY.burst) * 1.5 + 200


@pytest.mark.parametrize("start", [30 + step * 0.21 for step in range(20)])
@pytest.mark.parametrize("nth", [None, 8])
def test_a_freeze_of_two_and_a_half_seconds_ends_nothing(start: float, nth: int | None) -> None:
    stalls = ((start, start + 2.5),)
    simulation = Simulation(Server(stalls=stalls), per_second=20 if nth else 0, ends=200)
    assert simulation.run() is None


@pytest.mark.parametrize("step", range(30))
@pytest.mark.parametrize("per_second", [0, 20])
def test_a_wedge_is_known_within_ten_seconds(step: int, per_second: float) -> None:
    at = 30 + step * 0.13
    simulation = Simulation(Server(lambda number, now: now >= at), per_second)
    verdict = simulation.run()
    assert verdict is not None
    assert "3 times in a row" in verdict
    assert simulation.now - at <= 10


def test_probes_alone_find_a_wedge_where_nobody_counts_tokens() -> None:
    simulation = Simulation(Server(lambda number, now: now >= 50), per_second=5, counts=False)
    assert simulation.run()
    assert simulation.now <= 60


def test_a_server_that_computes_for_ever_without_a_token_is_wedged_too() -> None:
    simulation = Simulation(Server(lambda number, now: now >= 50, works=lambda now: now))
    verdict = simulation.run()
    assert verdict is not None
    assert "it was busy for" in verdict
    assert 165 <= simulation.now <= 190


def overloaded(since: float, until: float, share: float) -> Server:
    """Nobody gets an answer meanwhile, and no processor is free for that share of the time."""
    return Server(
        stalls=((since, until),),
        works=lambda now: 0.05 * now,
        waits=lambda now: share * max(0.0, min(now, until) - since),
    )


def test_a_server_for_which_no_processor_is_free_is_not_dead() -> None:
    assert Simulation(overloaded(100.0, 160.0, 0.9)).run() is None


def test_a_server_that_waits_little_for_a_processor_is_found_dead_in_ten_seconds() -> None:
    simulation = Simulation(overloaded(100.0, 160.0, 0.3))
    assert "3 times in a row" in (simulation.run() or "")
    assert simulation.now - 100 <= 10


def test_a_machine_without_a_free_processor_is_given_two_minutes() -> None:
    simulation = Simulation(overloaded(100.0, NEVER, 0.9))
    assert "this machine had no processor free for 12" in (simulation.run() or "")


def test_flowing_tokens_are_proof_enough_and_nobody_probes() -> None:
    simulation = Simulation(Server(), per_second=20)
    assert simulation.run() is None
    assert simulation.probes == 0


def test_an_idle_server_is_probed_now_and_then() -> None:
    simulation = Simulation(Server())
    assert simulation.run() is None
    assert 700 <= simulation.probes <= 1300


def test_refusals_of_a_full_queue_between_answers_end_nothing() -> None:
    detector = WedgeDetector(POLICY, 0.0)
    for second in range(1, 600):
        detector.look(float(second), float(second), suspicion=second % 5 == 0)
        for place in range(4):
            number = detector.started(second + 0.1, 0.0)
            if place % 2:
                detector.failed(number, second + 0.11, 0.0, "Exceeds maximum queue size")
            else:
                detector.answered(number, second + 0.2)
    assert detector.verdict is None
