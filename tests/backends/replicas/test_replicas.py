"""Which replica gets a request: servers that answer, refuse or stay silent as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack

import pytest
import pytest_asyncio

from enginix.backends.replicas.replica import Replica
from enginix.backends.replicas.replicas import Replicas
from enginix.errors import (
    BackendError,
    BackendTimedOut,
    BackendUnavailable,
    GenerationFailed,
    ReplicaMismatch,
)
from tests.waiting import until


class FakeServer:
    """`unreachable` and `silent` are errors it raises; `frozen`, `wedged`: it never answers."""

    def __init__(self) -> None:
        self.unreachable: BackendError | None = None
        self.silent: BackendError | None = None
        self.frozen = self.wedged = False
        self.reached = 0

    async def reach(self) -> None:
        self.reached += 1
        if self.frozen:
            await asyncio.Event().wait()
        if self.unreachable:
            raise self.unreachable

    async def probe(self) -> None:
        if self.wedged:
            await asyncio.Event().wait()
        if self.silent:
            raise self.silent


class Group:
    def __init__(self, count: int) -> None:
        self.servers = [FakeServer() for _ in range(count)]
        self.all = [Replica(f"host{n}:1", server) for n, server in enumerate(self.servers)]
        self.replicas = Replicas(self.all)

    def first(self, *blocks: int) -> Replica:
        return self.replicas.in_order(blocks)[0]


@pytest_asyncio.fixture
async def group() -> AsyncIterator[Group]:
    group = Group(3)
    yield group
    await group.replicas.close()


async def test_the_least_busy_one_is_asked(group: Group) -> None:
    with group.all[0].at_work(), group.all[2].at_work():
        assert group.first() is group.all[1]


async def test_equally_busy_ones_take_turns(group: Group) -> None:
    assert {group.first().address for _ in range(3)} == {"host0:1", "host1:1", "host2:1"}


async def test_a_conversation_stays_where_its_beginning_is_cached(group: Group) -> None:
    group.replicas.remember([1, 2], group.all[2])
    assert [group.first(1, 2, 3) for _ in range(4)] == [group.all[2]] * 4


async def test_it_moves_when_that_replica_is_much_busier(group: Group) -> None:
    group.replicas.remember([1], group.all[2])
    with group.all[2].at_work():
        assert group.first(1) is group.all[2]
        with group.all[2].at_work():
            assert group.first(1) is not group.all[2]


async def test_it_stays_among_many_requests_if_that_replica_is_only_a_little_busier(
    group: Group,
) -> None:
    group.replicas.remember([1], group.all[2])
    with ExitStack() as work:
        for replica, running in zip(group.all, (20, 20, 25), strict=True):
            for _ in range(running):
                work.enter_context(replica.at_work())
        assert group.first(1) is group.all[2]


async def test_a_failed_one_is_asked_last_until_a_token_comes_out(group: Group) -> None:
    group.servers[0].silent = BackendTimedOut("no token")
    group.all[0].doubt(BackendUnavailable("the connection broke"))
    order = group.replicas.in_order(())
    assert order[-1] is group.all[0]
    assert group.all[0].out == "the connection broke"
    group.servers[0].silent = None
    await until(lambda: group.all[0].out is None)


async def test_a_conversation_leaves_a_replica_that_failed(group: Group) -> None:
    group.replicas.remember([1], group.all[0])
    group.servers[0].unreachable = BackendUnavailable("refused")
    group.all[0].doubt(BackendUnavailable("the connection broke"))
    assert group.first(1) is not group.all[0]


async def test_one_that_is_about_to_be_restarted_gets_no_new_request(group: Group) -> None:
    group.replicas.remember([1], group.all[1])
    group.all[1].resting = True
    assert group.all[1] not in group.replicas.in_order([1])[:2]


@pytest.mark.parametrize(
    "break_it",
    [
        lambda server: setattr(server, "unreachable", BackendUnavailable("refused")),
        lambda server: setattr(server, "wedged", True),
        lambda server: setattr(server, "silent", GenerationFailed("an error")),
        lambda server: setattr(server, "frozen", True),
    ],
    ids=["dead", "wedged", "failing", "frozen"],
)
async def test_a_broken_one_leaves_the_rotation_without_a_request_and_comes_back(
    group: Group, break_it: Callable[[FakeServer], None]
) -> None:
    break_it(group.servers[1])
    await until(lambda: group.all[1].out is not None)
    assert group.all[0].out is group.all[2].out is None
    group.servers[1].__init__()  # type: ignore[misc]
    await until(lambda: group.all[1].out is None)


async def test_a_request_that_waits_on_a_lost_one_is_given_up_there(group: Group) -> None:
    replica = group.all[0]

    async def wait_there() -> None:
        async with replica.beginning():
            group.servers[0].frozen = True
            replica.doubted.set()
            await asyncio.Event().wait()

    with pytest.raises(BackendUnavailable, match="does not answer within"):
        await wait_there()


async def test_one_that_waits_on_a_busy_one_stays(group: Group) -> None:
    replica = group.all[0]
    async with replica.beginning():
        group.servers[0].wedged = True
        replica.doubted.set()
        await until(lambda: replica.out is not None)
        assert not replica.lost


async def test_a_time_out_of_the_requests_own_is_not_taken_for_a_lost_replica(
    group: Group,
) -> None:
    with pytest.raises(TimeoutError):
        async with group.all[0].beginning(), asyncio.timeout(0):
            await asyncio.Event().wait()


async def test_tokens_of_requests_prove_more_than_a_probe_that_timed_out(group: Group) -> None:
    replica = group.all[0]
    group.servers[0].wedged = True
    examining = asyncio.create_task(replica.examine())
    while not examining.done():
        replica.token_came()
        await asyncio.wait({examining}, timeout=0.1)
    assert replica.out is None


async def test_one_that_serves_another_engine_never_gets_a_request(group: Group) -> None:
    group.servers[0].unreachable = ReplicaMismatch("host0 serves another engine")
    with pytest.raises(ReplicaMismatch):
        async with group.all[0].beginning():
            pass
    for server in group.servers[1:]:
        server.unreachable = BackendUnavailable("refused")
    assert group.all[0] not in group.replicas.in_order(())


async def test_it_is_asked_again_once_it_serves_the_right_one(group: Group) -> None:
    group.servers[0].unreachable = ReplicaMismatch("host0 serves another engine")
    await group.all[0].examine()
    assert group.all[0].mismatch
    group.servers[0].unreachable = None
    await until(lambda: group.all[0].out is None)
    assert group.all[0] in group.replicas.in_order(())


async def test_a_server_is_identified_before_its_first_request_and_after_a_failure(
    group: Group,
) -> None:
    for _ in range(3):
        async with group.all[0].beginning():
            pass
    before = group.servers[0].reached
    group.all[0].doubt(BackendUnavailable("the connection broke"))
    async with group.all[0].beginning():
        pass
    assert group.servers[0].reached > before


async def test_a_probe_of_all_needs_one_that_generates(group: Group) -> None:
    group.servers[0].unreachable = group.servers[1].silent = BackendUnavailable("refused")
    await group.replicas.probe()


async def test_a_probe_of_all_that_fails_says_what_is_wrong_with_each(group: Group) -> None:
    for number, server in enumerate(group.servers):
        server.unreachable = BackendUnavailable(f"host{number} refused")
    with pytest.raises(
        BackendUnavailable, match="none of 3 replicas generates: host0 refused; host1 refused"
    ):
        await group.replicas.probe()


async def test_every_change_is_reported(group: Group) -> None:
    seen: list[tuple[int, str | None]] = []
    replica = group.all[0]
    replica.changed = lambda: seen.append((replica.running, replica.out))
    with replica.at_work():
        pass
    group.servers[0].silent = GenerationFailed("an error")
    await replica.examine()
    assert seen[:3] == [(1, None), (0, None), (0, "an error")]
