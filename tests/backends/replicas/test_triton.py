"""Several real Tritons as one backend: killed, frozen, hung, and serving something else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial

import pytest
from fakes.token_triton import TokenTriton, free_ports, token_triton

from enginix.backends.replicas.triton import ReplicatedTriton
from enginix.backends.triton import TritonBackend
from enginix.errors import BackendUnavailable
from enginix.generation.lane import Lane
from enginix.runtimes.runtime import Runtime
from enginix.triton.client.client import TokenRequest, TritonClient
from tests.waiting import until

pytestmark = pytest.mark.triton


@asynccontextmanager
async def backend_of(*addresses: str) -> AsyncIterator[ReplicatedTriton]:
    servers = [TritonBackend(f"Triton at {one}", TritonClient(one)) for one in addresses]
    backend = ReplicatedTriton("both", servers)
    try:
        yield backend
    finally:
        await backend.close()


async def answer(
    backend: ReplicatedTriton, length: int = 3, request_id: str = "", ids: list[int] | None = None
) -> list[int]:
    ids = [] if ids is None else ids
    request = TokenRequest([7, 8], length, request_id=request_id)
    async with aclosing(backend.generate(request)) as arrivals:
        async for chunks in arrivals:
            ids += [id_ for chunk in chunks for id_ in chunk.ids]
    return ids


async def test_a_killed_one_fails_its_own_stream_and_no_other(runtime: Runtime) -> None:
    with token_triton(runtime) as one, token_triton(runtime) as other:
        async with backend_of(one.address, other.address) as backend:
            slow, seen = "delay_us=20000", [list[int]() for _ in range(4)]
            streams = [asyncio.create_task(answer(backend, 200, slow, ids)) for ids in seen]
            await until(lambda: all(replica.running == 2 for replica in backend.replicas))
            # Each has begun: from here on nothing begins again elsewhere.
            await until(lambda: all(seen))
            one.kill()
            done = await asyncio.gather(*streams, return_exceptions=True)
            assert sum(isinstance(each, BackendUnavailable) for each in done) == 2
            assert sum(each == [7, 8] * 100 for each in done) == 2
            assert [await answer(backend) for _ in range(8)] == [[7, 8, 7]] * 8
            assert backend.replicas[0].out
            with token_triton(runtime, grpc_port=int(one.address.rpartition(":")[2])):
                await until(lambda: backend.replicas[0].out is None)
                assert await answer(backend) == [7, 8, 7]


async def test_requests_on_a_frozen_one_begin_again_on_the_other(runtime: Runtime) -> None:
    with token_triton(runtime) as one, token_triton(runtime) as other:
        async with backend_of(one.address, other.address) as backend:
            await answer(backend)
            one.freeze()
            answers = await asyncio.gather(*(answer(backend) for _ in range(6)))
            assert answers == [[7, 8, 7]] * 6
            assert backend.replicas[0].out
            one.thaw()
            await until(lambda: backend.replicas[0].out is None)


async def test_a_hung_model_gets_no_new_requests(
    runtime: Runtime, token_server: TokenTriton
) -> None:
    with token_triton(runtime) as hung:
        async with backend_of(hung.address) as alone, AsyncExitStack() as streams:
            for _ in range(4):
                stream = alone.generate(TokenRequest([1], 9, request_id="hang_at=1"))
                await streams.enter_async_context(aclosing(stream))
                await anext(stream)
            async with backend_of(hung.address, token_server.address) as backend:
                await until(lambda: backend.replicas[0].out is not None)
                assert [await answer(backend) for _ in range(6)] == [[7, 8, 7]] * 6
                assert backend.replicas[0].started == 0


async def test_with_all_of_them_away_the_error_names_each() -> None:
    ports = free_ports(2)
    async with backend_of(*(f"127.0.0.1:{port}" for port in ports)) as backend:
        with pytest.raises(BackendUnavailable) as caught:
            await answer(backend)
    assert all(f"127.0.0.1:{port}" in str(caught.value) for port in ports)


async def test_an_option_is_supported_if_any_of_them_says_so(token_server: TokenTriton) -> None:
    away = f"127.0.0.1:{free_ports(1)[0]}"
    async with backend_of(away, token_server.address) as backend:
        assert "temperature" in await backend.supported()


async def test_a_request_that_the_client_leaves_runs_nowhere(token_server: TokenTriton) -> None:
    async with backend_of(
        token_server.address, token_server.address.replace("127.0.0.1", "localhost")
    ) as backend:
        stream = backend.generate(TokenRequest([1], 1000, request_id="delay_us=20000"))
        await anext(stream)
        assert sum(replica.running for replica in backend.replicas) == 1
        await stream.aclose()
        assert sum(replica.running for replica in backend.replicas) == 0


async def test_tokens_are_taken_and_yielded_in_their_order(token_server: TokenTriton) -> None:
    ids: list[int] = []
    taken: list[int] = []

    def take(arrivals: list[tuple[int, ...]]) -> bool:
        taken.extend(len(each) for each in arrivals)
        ids.extend(id_ for each in arrivals for id_ in each)
        return True

    async with backend_of(token_server.address) as backend:
        request = TokenRequest([7, 8], 200, request_id="delay_us=1000", take=take)
        async with aclosing(backend.generate(request)) as arrivals:
            async for chunks in arrivals:
                ids += [id_ for chunk in chunks for id_ in chunk.ids]
    assert taken
    assert ids == [7, 8] * 100


TEXTS = {7: b"7", 8: b"8"}


class Lanes(Lane):
    """Asks with a lane; `told` are the replicas that were told of a token, in their order."""

    def __init__(self, backend: ReplicatedTriton) -> None:
        super().__init__()
        self.ids: list[int] = []
        self.in_lane = 0
        self.told: list[int] = []
        self._backend = backend
        for number, replica in enumerate(backend.replicas):
            replica.token_came = partial(self.told.append, number)  # type: ignore[method-assign]

    async def run(self, length: int) -> None:
        request = TokenRequest(
            [7, 8], length, request_id="delay_us=1000", take=self._take, lane=self
        )
        async with aclosing(self._backend.generate(request)) as arrivals:
            async for chunks in arrivals:
                self.ids += [id_ for chunk in chunks for id_ in chunk.ids]

    def _take(self, arrivals: list[tuple[int, ...]]) -> bool:
        self.ids += [id_ for each in arrivals for id_ in each]
        self.texts = TEXTS
        return True

    def pass_on(self, found: list[bytes]) -> None:
        self.in_lane += 1
        self.ids += map(int, found)
        assert self.told, "before the token is passed on"


async def test_tokens_in_a_lane_are_tokens_of_their_replica(token_server: TokenTriton) -> None:
    async with backend_of(token_server.address) as backend:
        lanes = Lanes(backend)
        await lanes.run(200)
    assert lanes.ids == [7, 8] * 100
    assert lanes.in_lane > 10
    # Beside them, the first one, the last one and some that are taken are.
    assert len(lanes.told) > lanes.in_lane


async def test_a_request_that_begins_again_elsewhere_has_its_lane_there(
    token_server: TokenTriton,
) -> None:
    away = f"127.0.0.1:{free_ports(1)[0]}"
    async with backend_of(away, token_server.address) as backend:
        # They take turns.
        for _ in range(2):
            lanes = Lanes(backend)
            await lanes.run(50)
            assert lanes.ids == [7, 8] * 25
            assert lanes.in_lane
            assert set(lanes.told) == {1}
        assert backend.replicas[0].started
