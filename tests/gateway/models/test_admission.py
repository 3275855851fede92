"""A model's slots: taken in turn, given back whatever happens, and never more than there are."""

from __future__ import annotations

import asyncio
import random

import pytest

from enginix.errors import Overloaded
from enginix.gateway.models.admission import Admission


class Place:
    """Requests that stay until they are told to end."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.order: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}

    def begin(self, name: str, priority: int = 0, key: str | None = None) -> asyncio.Task[None]:
        self.ends[name] = asyncio.Event()
        return asyncio.create_task(self.request(name, priority, key))

    async def request(self, name: str, priority: int, key: str | None) -> None:
        await self.admission.enter(priority, key)
        self.order.append(name)
        try:
            assert self.admission.running <= 1
            await self.ends[name].wait()
        finally:
            self.admission.leave(key)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_sooner_request_is_served_before_those_that_wait_longer() -> None:
    place = Place(Admission("m", 1, 10))
    tasks = [place.begin("first")]
    for name, priority in (("late", 5), ("batch", 1), ("more", 1), ("soon", -1)):
        await settle()
        tasks.append(place.begin(name, priority))
    await settle()
    assert (place.admission.running, place.admission.waiting) == (1, 4)
    for event in place.ends.values():
        event.set()
    await asyncio.gather(*tasks)
    assert place.order == ["first", "soon", "batch", "more", "late"]
    assert place.admission.busy == 0


@pytest.mark.parametrize("given_first", [True, False])
async def test_one_that_leaves_just_when_its_turn_comes_gives_the_slot_on(
    given_first: bool,
) -> None:
    place = Place(Admission("m", 1, 10))
    first, second, third = (place.begin(name) for name in ("first", "second", "third"))
    await settle()
    place.ends["first"].set()
    if given_first:
        # One step of the loop: the slot is the second's, whose task has not run since.
        await asyncio.sleep(0)
    second.cancel()
    place.ends["third"].set()
    await asyncio.wait({first, second, third})
    assert second.cancelled()
    assert (place.order, place.admission.busy) == (["first", "third"], 0)


@pytest.mark.parametrize("seed", range(20))
async def test_no_slot_is_lost_or_made_whoever_leaves_when(seed: int) -> None:
    chance = random.Random(seed)
    admission = Admission("m", 3, 50)

    async def request(priority: int, key: str | None) -> None:
        await admission.enter(priority, key)
        try:
            assert admission.running <= 3
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
        finally:
            admission.leave(key)

    tasks = []
    for _ in range(200):
        if admission.waiting < 40:
            key = chance.choice([None, "alice", "bob"])
            tasks.append(asyncio.create_task(request(chance.randrange(-2, 3), key)))
        if chance.random() < 0.4:
            chance.choice(tasks).cancel()
        if chance.random() < 0.7:
            await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await asyncio.gather(*tasks, return_exceptions=True)
    assert (admission.running, admission.waiting) == (0, 0)
    for _ in range(3):
        await admission.enter()
    assert admission.running == 3


async def test_a_full_line_is_refused_with_a_time_to_come_back() -> None:
    place = Place(Admission("m", 1, 1))
    tasks = [place.begin("first"), place.begin("second")]
    await settle()
    with pytest.raises(Overloaded, match="m has 1 running and 1 waiting"):
        await place.admission.enter()
    for event in place.ends.values():
        event.set()
    await asyncio.gather(*tasks)
