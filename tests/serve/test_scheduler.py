"""Which models are loaded, by a simulated clock: no process is started, and no test waits."""

from __future__ import annotations

import asyncio

import pytest
from serve.house import REST, House, Server, group, on_demand, settled, staying

from enginix.errors import BackendUnavailable, ModelNotFound, RequestError, StartFailed
from enginix.serve.managed_model import ManagedModel
from enginix.serve.model_entry import ModelEntry
from enginix.supervision import Availability


async def test_only_models_on_demand_are_loaded_before_a_request_passes() -> None:
    house = House(on_demand("a"), staying("b", memory=0.1))
    async with house.followed() as gateway:
        assert gateway.told == {"a": Availability.ON_DEMAND, "b": Availability.OPEN}
        await house.scheduler.load("a", by_request=True)
        assert gateway.told["a"] is Availability.OPEN
    assert house.scheduler.loaded == ["a"]


async def test_a_loaded_model_is_not_loaded_again() -> None:
    house = House(on_demand("a"))
    await house.scheduler.load("a")
    await house.scheduler.load("a")
    assert house.servers["a"].loads == [False]


async def test_a_model_nobody_knows_is_refused_with_those_there_are() -> None:
    with pytest.raises(ModelNotFound, match="this server has a"):
        await House(on_demand("a")).scheduler.load("z")


async def test_a_model_makes_room_only_after_its_rest() -> None:
    house = House(on_demand("a"), on_demand("b"))
    await house.scheduler.load("a")
    await house.time.pass_by(10)
    loading = asyncio.create_task(house.scheduler.load("b", by_request=True))
    await house.time.pass_by(REST - 10.5)
    assert house.scheduler.loaded == ["a"]
    await house.time.pass_by(0.5)
    assert house.scheduler.loaded == ["b"]
    assert house.availability("a") is Availability.ON_DEMAND
    await loading


async def test_two_that_are_asked_for_in_turns_do_not_chase_each_other_out() -> None:
    house = House(on_demand("a"), on_demand("b"))
    started = house.time.now
    for name in ("a", "b", "a"):
        loading = asyncio.create_task(house.scheduler.load(name, by_request=True))
        while not loading.done():
            await house.time.pass_by(0.5)
    assert house.time.now - started >= 2 * REST


async def test_the_least_recently_used_makes_room_first() -> None:
    house = House(*(on_demand(name, memory=0.4) for name in "abc"))
    async with house.followed() as gateway:
        for name in "ab":
            await house.scheduler.load(name)
            await house.time.pass_by(1)
        await house.time.pass_by(REST)
        # `a` was loaded before `b`, and used after it.
        await gateway.report(a=(1, 1))
        async with house.expiring():
            await house.time.pass_by(1)
        await gateway.report(a=(0, 1))
        loading = asyncio.create_task(house.scheduler.load("c", by_request=True))
        await settled()
        await gateway.report(a=(0, 1))
        await loading
    assert house.scheduler.loaded == ["a", "c"]


async def test_a_model_on_another_gpu_stays() -> None:
    house = House(
        on_demand("a", gpus=["1"]), on_demand("b", gpus=["0"]), on_demand("c", gpus=["0"])
    )
    await house.scheduler.load("a")
    await house.scheduler.load("b")
    await house.time.pass_by(REST)
    await house.scheduler.load("c")
    assert house.scheduler.loaded == ["a", "c"]


async def test_a_request_ends_no_model_that_is_to_stay_but_an_operator_does() -> None:
    house = House(staying("a"), on_demand("b"))
    await house.scheduler.load("a")
    await house.time.pass_by(REST)
    with pytest.raises(RequestError, match="b does not fit beside what stays loaded") as caught:
        await house.scheduler.load("b", by_request=True)
    assert caught.value.code == "no_room"
    await house.scheduler.load("b")
    assert house.scheduler.loaded == ["b"]
    assert house.availability("a") is Availability.CLOSED


async def test_a_model_in_use_stays_and_is_open_again() -> None:
    house = House(on_demand("a"), on_demand("b"), drain=0.0)
    async with house.followed() as gateway:
        await house.scheduler.load("a")
        await gateway.report(a=(2, 2))
        await house.time.pass_by(REST)
        with pytest.raises(BackendUnavailable, match="in use by 2 requests"):
            await house.scheduler.load("b", by_request=True)
        assert gateway.told["a"] is Availability.OPEN
    assert house.scheduler.loaded == ["a"]


async def test_a_model_ends_once_every_gateway_has_seen_it_closed_and_has_none_of_it() -> None:
    house = House(staying("a"))
    await house.scheduler.load("a")
    async with house.followed() as first, house.followed() as second:
        await first.report(a=(1, 1))
        await second.report()
        unloading = asyncio.create_task(house.scheduler.unload("a", drain=60))
        await settled()
        assert second.told["a"] is Availability.CLOSED
        await first.report(a=(0, 1))
        assert house.scheduler.loaded == ["a"], "the second has not seen it"
        await second.report()
        await unloading
    assert house.scheduler.loaded == []


async def test_an_unload_that_is_given_up_leaves_the_model_open() -> None:
    house = House(staying("a"))
    await house.scheduler.load("a")
    async with house.followed() as gateway:
        await gateway.report(a=(1, 1))
        unloading = asyncio.create_task(house.scheduler.unload("a", drain=60))
        await settled()
        unloading.cancel()
        await asyncio.wait({unloading})
        assert gateway.told["a"] is Availability.OPEN
    assert house.scheduler.loaded == ["a"]


async def test_an_unload_ends_a_load_that_is_under_way() -> None:
    house = House(staying("a"))
    house.servers["a"].starts_when = asyncio.Event()
    loading = asyncio.create_task(house.scheduler.load("a"))
    await settled()
    await house.scheduler.unload("a", drain=0)
    with pytest.raises(StartFailed):
        await loading
    assert house.availability("a") is Availability.CLOSED


@pytest.mark.parametrize(
    ("entry", "availability", "persistent"),
    [
        (on_demand("a"), Availability.ON_DEMAND, False),
        (staying("a"), Availability.OPEN, True),
    ],
)
async def test_a_failed_start_is_tried_again_by_the_next_request_or_by_itself(
    entry: ModelEntry, availability: Availability, persistent: bool
) -> None:
    house = House(entry)
    house.servers["a"].fails = True
    with pytest.raises(StartFailed):
        await house.scheduler.load("a")
    assert house.availability("a") is availability
    assert house.servers["a"].loads == [persistent]


async def test_a_model_ends_after_its_time_to_live_without_a_request() -> None:
    house = House(on_demand("a", ttl_seconds=60.0))
    await house.scheduler.load("a")
    async with house.expiring():
        await house.time.pass_by(60)
        assert house.scheduler.loaded == ["a"]
        await house.time.pass_by(1)
    assert house.scheduler.loaded == []
    assert house.availability("a") is Availability.ON_DEMAND


async def test_running_requests_and_those_that_came_and_went_begin_its_time_anew() -> None:
    house = House(on_demand("a", ttl_seconds=60.0))
    await house.scheduler.load("a")
    async with house.followed() as gateway, house.expiring():
        await gateway.report(a=(1, 1))
        await house.time.pass_by(500)
        # One more has started and ended between two looks.
        await gateway.report(a=(0, 2))
        await house.time.pass_by(60)
        assert house.scheduler.loaded == ["a"]
        await house.time.pass_by(1)
        await gateway.report(a=(0, 2))
        assert house.scheduler.loaded == []


async def test_a_model_that_is_added_is_closed_until_it_is_loaded() -> None:
    house = House()
    server = group("new", Server(house.time))
    async with house.followed() as gateway:
        house.scheduler.add(ManagedModel(staying("new"), server, {"name": "new"}))
        assert gateway.told == {"new": Availability.CLOSED}
        await house.scheduler.load("new")
        assert gateway.told == {"new": Availability.OPEN}
