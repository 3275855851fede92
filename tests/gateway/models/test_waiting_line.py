"""The order in which requests wait: by priority, fair between keys, and nobody for ever."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from enginix.gateway.models.waiting_line import AGED_SECONDS, MAY_PASS, Place, WaitingLine

KEYS = [None, "alice", "bob", "carol"]
ARRIVALS = st.tuples(st.just("arrives"), st.integers(-2, 2), st.sampled_from(KEYS))
STEPS = st.lists(
    ARRIVALS
    | st.tuples(st.just("ends"), st.integers(0, 99), st.none())
    | st.tuples(st.just("passes"), st.integers(0, 8), st.none()),
    max_size=150,
)


@dataclass
class Model:
    """One model's line and slots, by a simulated clock; `served` are the places in their order."""

    slots: int = 2
    now: float = 0.0
    line: WaitingLine[int] = field(default_factory=WaitingLine)
    waiting: list[Place[int]] = field(default_factory=list)
    running: list[Place[int]] = field(default_factory=list)
    served: list[Place[int]] = field(default_factory=list)
    arrived: int = 0

    def arrive(self, priority: int = 0, key: str | None = None) -> None:
        self.arrived += 1
        self.waiting.append(self.line.add(self.arrived, priority, key, self.now))
        self.serve()

    def end(self, which: int = 0) -> None:
        if self.running:
            self.running.pop(which % len(self.running))
        self.serve()

    def serve(self) -> None:
        while self.waiting and len(self.running) < self.slots:
            place = self.line.pop(self.now, Counter(each.key for each in self.running))
            self.waiting.remove(place)
            self.running.append(place)
            self.served.append(place)

    def follow(self, steps: list[tuple[str, int, str | None]]) -> None:
        for what, number, key in steps:
            if what == "arrives":
                self.arrive(number, key)
            elif what == "ends":
                self.end(number)
            else:
                self.now += number


class Watched(Model):
    """Checks the order whenever a request is served."""

    passed: Counter[int]

    def serve(self) -> None:
        self.passed = getattr(self, "passed", Counter())
        while self.waiting and len(self.running) < self.slots:
            before, running = list(self.waiting), Counter(each.key for each in self.running)
            place = self.line.pop(self.now, running)
            self.waiting.remove(place)
            self.running.append(place)
            oldest = min(before, key=lambda each: each.number)
            aged = self.now - oldest.since >= AGED_SECONDS
            assert place.number == min(
                each.number
                for each in before
                if (each.priority, each.key) == (place.priority, place.key)
            )
            if aged and place is not oldest:
                self.passed[oldest.number] += 1
                assert self.passed[oldest.number] <= MAY_PASS
            if not (aged and place is oldest):
                assert place.priority == min(each.priority for each in before)
                equals = [each for each in before if each.priority == place.priority]
                assert running[place.key] == min(running[each.key] for each in equals)


@settings(deadline=None)
@given(STEPS, st.integers(1, 4))
def test_the_sooner_priority_and_the_key_with_the_fewest_running_come_first(
    steps: list[tuple[str, int, str | None]], slots: int
) -> None:
    Watched(slots).follow(steps)


@settings(deadline=None)
@given(st.lists(st.floats(0, 30), max_size=60), st.integers(1, 4))
def test_without_keys_and_priorities_the_first_to_come_is_the_first_served(
    pauses: list[float], slots: int
) -> None:
    model = Model(slots)
    for pause in pauses:
        model.now += pause
        model.arrive()
        if pause > 10:
            model.end()
    while model.running:
        model.end()
    assert [place.item for place in model.served] == list(range(1, len(pauses) + 1))


@settings(deadline=None)
@given(st.integers(0, 10), st.integers(1, 5))
def test_nobody_starves_however_many_come_that_are_sooner(older: int, slots: int) -> None:
    model = Model(slots)
    for _ in range(slots):
        model.arrive(-1)
    for _ in range(older):
        model.arrive(1)
    model.arrive(2, "patient")
    model.now += AGED_SECONDS
    for _ in range((MAY_PASS + 1) * (older + 1)):
        model.arrive(-1)
        model.end()
    assert "patient" in [place.key for place in model.served]


def test_a_batch_of_two_hundred_does_not_keep_another_key_waiting() -> None:
    model = Model(slots=4)
    for _ in range(200):
        model.arrive(0, "batch")
    model.arrive(0, "interactive")
    model.end()
    assert model.served[-1].key == "interactive"


def test_keys_of_one_priority_share_the_slots_equally() -> None:
    model = Model(slots=6)
    for number in range(90):
        model.arrive(0, KEYS[1 + number // 30])
    for _ in range(40):
        model.end()
        running = Counter(place.key for place in model.running)
        if len(model.served) > 20:
            assert set(running.values()) == {2}


def test_a_place_in_the_line_is_told_by_turns() -> None:
    line = WaitingLine[int]()
    places = [line.add(number, 0, "batch", 0.0) for number in range(5)]
    other = line.add(9, 0, "other", 0.0)
    urgent = line.add(10, -1, "batch", 0.0)
    assert [line.ahead(place) for place in (urgent, places[0], other, places[4])] == [0, 2, 2, 6]
    line.remove(urgent)
    assert (len(line), line.ahead(other)) == (6, 1)
