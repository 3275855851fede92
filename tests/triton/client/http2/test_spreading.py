"""Several servers, one of them down; and a server that allows few concurrent streams."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing

import pytest
from fakes.asking import SHORT, ask, ids
from fakes.hostile_http2 import (
    DATA,
    Peer,
    Script,
    frame,
    hostile,
    response_headers,
    settings,
    tokens,
)
from fakes.token_triton import free_ports

from enginix.errors import BackendTimedOut, BackendUnavailable
from enginix.triton.client.client import TritonClient

Connect = Callable[..., TritonClient]


def answering(*answer: int) -> Script:
    async def script(peer: Peer) -> None:
        await peer.begin()
        while True:
            peer.answer(await peer.request(), answer)

    return script


def dead() -> str:
    return f"127.0.0.1:{free_ports(1)[0]}"


async def test_requests_go_to_every_server_in_turn(connect: Connect) -> None:
    async with hostile(answering(1)) as one, hostile(answering(2)) as two:
        client = connect(f"{one},{two}")
        await asyncio.gather(ask(client), ask(client))
        answers = Counter([(await ids(client))[0] for _ in range(20)])
    assert answers == {1: 10, 2: 10}


async def test_a_server_that_is_down_is_skipped(connect: Connect) -> None:
    async with hostile(answering(1)) as alive:
        client = connect(f"{dead()},{alive}")
        assert [await ids(client) for _ in range(10)] == [[1]] * 10


async def test_if_all_servers_are_down_all_are_named(connect: Connect) -> None:
    one, two = dead(), dead()
    with pytest.raises(BackendUnavailable) as raised:
        await ask(connect(f"{one},{two}"))
    assert one in str(raised.value)
    assert two in str(raised.value)


async def test_a_server_that_dies_before_the_first_token_hands_over(connect: Connect) -> None:
    async def dying(peer: Peer) -> None:
        await peer.begin()
        await peer.request()
        peer.vanish()

    async with hostile(dying) as bad, hostile(answering(1)) as good:
        client = connect(f"{bad},{good}")
        assert [await ids(client) for _ in range(10)] == [[1]] * 10


async def test_an_answer_that_has_started_is_never_restarted(connect: Connect) -> None:
    async def dying(peer: Peer) -> None:
        await peer.begin()
        stream = await peer.request()
        peer.send(response_headers(stream), frame(DATA, 0, stream, tokens(9)))
        await peer.flushed()
        peer.vanish()

    async with hostile(dying) as bad, hostile(answering(1)) as good:
        client = connect(f"{bad},{good}")
        results = await asyncio.gather(*(ids(client) for _ in range(4)), return_exceptions=True)
    assert all(one == [1] or isinstance(one, BackendUnavailable) for one in results)
    assert any(isinstance(one, BackendUnavailable) for one in results)


async def test_a_pause_follows_a_failure_and_a_new_server_is_found_after_it(
    connect: Connect,
) -> None:
    accepted = 0

    async def refusing(peer: Peer) -> None:
        nonlocal accepted
        accepted += 1

    async with hostile(refusing, refusing, answering(1)) as address:
        client = connect(address, first_backoff=0.2)
        for _ in range(5):
            with pytest.raises(BackendUnavailable):
                await ask(client)
        assert accepted == 1
        await asyncio.sleep(0.2)
        with pytest.raises(BackendUnavailable):
            await ask(client)
        assert accepted == 2
        await asyncio.sleep(0.4)
        assert await ids(client) == [1]


async def test_many_requests_share_one_attempt_to_connect(connect: Connect) -> None:
    connections = 0

    async def counting(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        await answering(1)(peer)

    async with hostile(counting) as address:
        client = connect(address)
        assert await asyncio.gather(*(ids(client) for _ in range(50))) == [[1]] * 50
    assert connections == 1


async def test_one_that_gives_up_connecting_does_not_stop_the_others(connect: Connect) -> None:
    greet = asyncio.Event()

    async def late(peer: Peer) -> None:
        await greet.wait()
        await answering(1)(peer)

    async with hostile(late) as address:
        client = connect(address)
        leaving, staying = (asyncio.create_task(ids(client)) for _ in range(2))
        await asyncio.sleep(0.01)
        leaving.cancel()
        greet.set()
        assert await staying == [1]


async def test_a_server_gets_no_more_streams_than_it_allows(connect: Connect) -> None:
    most = 0

    async def narrow(peer: Peer) -> None:
        nonlocal most
        await peer.begin(settings(streams=3))
        waiting: list[int] = []
        answered = 0
        while answered < 20:
            waiting.append(await peer.request())
            most = max(most, len(waiting))
            if len(waiting) == 3 or answered + len(waiting) == 20:
                for stream in waiting:
                    peer.answer(stream, [1])
                answered += len(waiting)
                waiting = []
        await peer.gone()

    async with hostile(narrow) as address:
        client = connect(address)
        assert await asyncio.gather(*(ids(client) for _ in range(20))) == [[1]] * 20
    assert most == 3


async def test_a_server_that_takes_more_streams_later_gets_them(connect: Connect) -> None:
    async def opening(peer: Peer) -> None:
        await peer.begin(settings(streams=0))
        peer.send(settings(streams=5))
        for _ in range(5):
            peer.answer(await peer.request(), [1])
        await peer.gone()

    async with hostile(opening) as address:
        client = connect(address)
        assert await asyncio.gather(*(ids(client) for _ in range(5))) == [[1]] * 5


async def test_waiting_for_a_stream_counts_against_the_first_token(connect: Connect) -> None:
    async def closed(peer: Peer) -> None:
        await peer.begin(settings(streams=0))
        await peer.gone()

    async with hostile(closed) as address:
        with pytest.raises(BackendTimedOut):
            await ask(connect(address, first_token=0.1))


async def test_the_place_of_one_that_stopped_waiting_goes_to_the_next(connect: Connect) -> None:
    async def single(peer: Peer) -> None:
        await peer.begin(settings(streams=1))
        stream = await peer.request()
        peer.send(response_headers(stream), frame(DATA, 0, stream, tokens(9)))
        while True:
            peer.answer(await peer.request(), [1])

    async with hostile(single) as address:
        client = connect(address)
        async with aclosing(client.generate(SHORT)) as answer:
            await anext(answer)
            waiting = [asyncio.create_task(ids(client)) for _ in range(5)]
            await asyncio.sleep(0)
            for task in waiting[::2]:
                task.cancel()
        assert await waiting[1] == [1]
        assert await waiting[3] == [1]


async def test_those_who_wait_learn_that_the_connection_is_lost(connect: Connect) -> None:
    lose = asyncio.Event()

    async def single(peer: Peer) -> None:
        await peer.begin(settings(streams=1))
        await peer.request()
        await lose.wait()
        peer.vanish()

    async with hostile(single, answering(1)) as address:
        client = connect(address)
        tasks = [asyncio.create_task(ids(client)) for _ in range(5)]
        await asyncio.sleep(0.05)
        lose.set()
        assert await asyncio.gather(*tasks) == [[1]] * 5


async def test_a_name_is_resolved(connect: Connect) -> None:
    async with hostile(answering(1)) as address:
        assert await ids(connect(address.replace("127.0.0.1", "localhost"))) == [1]


async def test_an_ipv6_address_is_reached(connect: Connect) -> None:
    async with hostile(answering(1), host="::1") as address:
        assert await ids(connect(address)) == [1]


async def test_an_unresolvable_name_is_reported(connect: Connect) -> None:
    with pytest.raises(BackendUnavailable, match=r"cannot resolve host 'no-such-host\.invalid'"):
        await ask(connect("no-such-host.invalid:8001"))
