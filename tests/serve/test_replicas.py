"""Several servers of one model count as one, and are replaced one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from serve.house import Gateway, House, Server, Time, group, settled, staying

from enginix.errors import BackendUnavailable, RequestError, StartFailed
from enginix.serve.managed_model import ManagedModel
from enginix.serve.server_process import State
from enginix.supervision import Availability, replica_key

FIRST, SECOND = "host:0", "host:1"


class Row(House):
    """A scheduler with one model, `a`, of several servers."""

    def __init__(self, count: int = 2, endpoints: Sequence[str] = ()) -> None:
        super().__init__()
        self.all = [Server(self.time, name=f"a#{n}") for n in range(count)]
        entry = staying("a", replicas=count, endpoints=list(endpoints))
        self.group = group("a", *self.all, endpoints=endpoints)
        self.scheduler.add(ManagedModel(entry, self.group, {"name": "a"}))

    @property
    def states(self) -> list[State]:
        return [one.state for one in self.all]

    def restarting(self, drain: float = 60) -> asyncio.Task[None]:
        return asyncio.create_task(self.scheduler.restart("a", drain=drain))

    async def restart(self, *gateways: Gateway) -> None:
        await self.until_done(self.restarting(), *gateways)

    async def until_done(self, restarting: asyncio.Task[None], *gateways: Gateway) -> None:
        """The gateways have seen all news and have no requests."""
        while not restarting.done():
            for gateway in gateways:
                await gateway.report()
            await settled()
        await restarting


@pytest.fixture
def row() -> Row:
    return Row()


def of(address: str) -> str:
    return replica_key("a", address)


@pytest.mark.parametrize(
    ("states", "state"),
    [
        ([State.ERROR, State.LOADED], State.LOADED),
        ([State.ERROR, State.LOADING], State.LOADING),
        ([State.IDLE, State.ERROR], State.ERROR),
        ([State.IDLE, State.IDLE], State.IDLE),
    ],
)
def test_a_model_is_in_the_state_of_its_best_server(states: list[State], state: State) -> None:
    servers = [Server(Time(), one) for one in states]
    assert group("a", *servers).state is state


def test_a_model_has_been_loaded_for_as_long_as_its_oldest_server() -> None:
    servers = [Server(Time(), State.LOADED, changed_at=at) for at in (7.0, 5.0)]
    assert group("a", *servers, Server(Time(), State.ERROR, changed_at=1.0)).changed_at == 5.0


async def test_a_model_is_loaded_once_all_its_servers_are(row: Row) -> None:
    row.all[1].starts_when = asyncio.Event()
    loading = asyncio.create_task(row.scheduler.load("a"))
    await settled()
    assert row.states == [State.LOADED, State.LOADING]
    assert row.availability("a") is Availability.CLOSED
    row.all[1].starts_when.set()
    await loading
    assert row.availability("a") is Availability.OPEN


async def test_a_model_serves_when_only_some_of_its_servers_start(row: Row) -> None:
    row.all[0].fails = True
    await row.scheduler.load("a")
    assert row.states == [State.ERROR, State.LOADED]
    assert row.availability("a") is Availability.OPEN
    assert row.all[0].loads == [True], "it is tried again"


async def test_a_model_of_which_no_server_starts_has_failed(row: Row) -> None:
    for one in row.all:
        one.fails = True
    with pytest.raises(StartFailed):
        await row.scheduler.load("a")


async def test_an_unload_ends_all_servers_also_those_that_are_still_loading(row: Row) -> None:
    row.all[1].starts_when = asyncio.Event()
    loading = asyncio.create_task(row.scheduler.load("a"))
    await settled()
    await row.scheduler.unload("a", drain=0)
    await loading
    assert row.states == [State.IDLE, State.IDLE]
    assert row.availability("a") is Availability.CLOSED


async def test_endpoints_alone_are_open_and_take_no_memory() -> None:
    row = Row(0, endpoints=["elsewhere:1"])
    await row.scheduler.load("a")
    assert (row.availability("a"), row.scheduler.loaded) == (Availability.OPEN, ["a"])
    assert not row.scheduler.find("a").is_loaded
    await row.scheduler.unload("a", drain=0)
    assert (row.availability("a"), row.scheduler.loaded) == (Availability.CLOSED, [])


async def test_one_server_after_the_other_rests_until_its_requests_are_done(row: Row) -> None:
    await row.scheduler.load("a")
    async with row.followed() as gateway:
        await gateway.report(**{"a": (2, 2), of(FIRST): (1, 1), of(SECOND): (1, 1)})
        restarting = row.restarting()
        await settled()
        assert gateway.resting["a"] == [FIRST]
        assert [one.loads for one in row.all] == [[True], [True]]
        await gateway.report(**{"a": (1, 2), of(FIRST): (0, 1), of(SECOND): (1, 1)})
        assert [one.loads for one in row.all] == [[True, True], [True]]
        assert gateway.resting["a"] == [SECOND]
        await gateway.report(**{"a": (0, 2), of(FIRST): (0, 1), of(SECOND): (0, 1)})
        await row.until_done(restarting, gateway)
        assert [one.loads for one in row.all] == [[True, True], [True, True]]
        assert gateway.resting["a"] == []
        assert gateway.told["a"] is Availability.OPEN


async def test_a_server_is_not_ended_before_every_gateway_knows_that_it_rests(row: Row) -> None:
    await row.scheduler.load("a")
    async with row.followed() as first, row.followed() as second:
        await first.report()
        await second.report()
        restarting = row.restarting()
        await settled()
        await first.report()
        assert row.all[0].unloads == 0, "the second has not seen it"
        await second.report()
        assert row.all[0].unloads == 1
        await row.until_done(restarting, first, second)


async def test_requests_that_do_not_end_are_broken_off_after_the_deadline(row: Row) -> None:
    await row.scheduler.load("a")
    async with row.followed() as gateway:
        await gateway.report(**{"a": (1, 1), of(FIRST): (1, 1)})
        restarting = row.restarting(drain=0)
        while not restarting.done():
            await gateway.report(**{"a": (1, 1), of(FIRST): (1, 1)})
        await restarting
    assert [one.unloads for one in row.all] == [1, 1]


async def test_a_server_that_does_not_come_up_stops_the_restart_and_the_others_serve(
    row: Row,
) -> None:
    await row.scheduler.load("a")
    row.all[0].fails = True
    async with row.followed() as gateway:
        with pytest.raises(StartFailed):
            await row.restart(gateway)
        assert gateway.resting["a"] == []
        assert gateway.told["a"] is Availability.OPEN
    assert row.states == [State.ERROR, State.LOADED]
    assert row.all[1].unloads == 0


async def test_a_server_that_is_down_is_replaced_first(row: Row) -> None:
    row.all[1].fails = True
    await row.scheduler.load("a")
    with pytest.raises(StartFailed):
        await row.restart()
    assert [one.unloads for one in row.all] == [0, 1]
    row.all[1].fails = False
    await row.restart()
    assert row.states == [State.LOADED, State.LOADED]


class Fragile(Server):
    """Ends as soon as it is ready again."""

    async def load(self, *, persistent: bool = True) -> None:
        await super().load(persistent=persistent)
        if len(self.loads) > 1:
            self.become(State.ERROR)


async def test_the_last_server_that_serves_is_not_ended() -> None:
    row = Row()
    row.all[0] = row.group.replicas[0].server = Fragile(row.time)  # type: ignore[assignment]
    await row.scheduler.load("a")
    with pytest.raises(BackendUnavailable, match="a#1 was not restarted: no other server of a"):
        await row.restart()
    assert (row.all[1].state, row.all[1].unloads) == (State.LOADED, 0)


async def test_requests_wait_while_the_only_server_of_a_model_is_replaced() -> None:
    row = Row(1)
    await row.scheduler.load("a")
    async with row.followed() as gateway:
        await gateway.report(a=(1, 1))
        restarting = row.restarting()
        await settled()
        assert gateway.told["a"] is Availability.ON_DEMAND
        # What a gateway does for a request meanwhile.
        waiting = asyncio.create_task(row.scheduler.load("a", by_request=True))
        await settled()
        assert row.all[0].unloads == 0
        await gateway.report(a=(0, 1))
        await asyncio.gather(restarting, waiting)
        assert gateway.told["a"] is Availability.OPEN
    assert row.all[0].loads == [True, True, True]


@pytest.mark.parametrize(
    ("count", "endpoints", "loaded", "code"),
    [(2, [], False, "not_loaded"), (0, ["elsewhere:1"], True, "not_here")],
)
async def test_only_servers_that_run_here_are_restarted(
    count: int, endpoints: list[str], loaded: bool, code: str
) -> None:
    row = Row(count, endpoints)
    if loaded:
        await row.scheduler.load("a")
    with pytest.raises(RequestError) as caught:
        await row.restart()
    assert caught.value.code == code
