"""The Triton backend against the real Triton."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from fakes.token_triton import TokenTriton, free_ports, token_triton

from enginix.backends.triton import TritonBackend
from enginix.errors import BackendTimedOut, BackendUnavailable
from enginix.generation.backend import Backend
from enginix.runtimes.runtime import Runtime
from enginix.triton.client.client import TokenRequest, TritonClient

pytestmark = pytest.mark.triton


@pytest_asyncio.fixture
async def backend(token_server: TokenTriton) -> AsyncIterator[Backend]:
    one = TritonBackend("demo", TritonClient(token_server.address))
    yield one
    await one.close()


async def test_a_probe_of_a_model_that_generates_returns(backend: Backend) -> None:
    await backend.probe()


async def test_it_tells_which_options_its_model_can_follow(backend: Backend) -> None:
    assert {"temperature", "seed", "min_p", "guide"} <= await backend.supported()


async def test_it_generates(backend: Backend) -> None:
    answer = backend.generate(TokenRequest([7, 8], 3))
    assert [id_ async for chunks in answer for chunk in chunks for id_ in chunk.ids] == [7, 8, 7]


async def test_a_probe_of_nobody_is_unavailable() -> None:
    backend = TritonBackend("demo", TritonClient(f"127.0.0.1:{free_ports(1)[0]}"))
    with pytest.raises(BackendUnavailable):
        await backend.probe()
    await backend.close()


async def test_a_probe_finds_a_model_that_hangs(runtime: Runtime) -> None:
    with token_triton(runtime) as server:
        backend = TritonBackend("demo", TritonClient(server.address), probe_seconds=0.5)
        # One for each of the model's sending threads.
        for _ in range(4):
            await anext(backend.generate(TokenRequest([1], 9, request_id="hang_at=1")))
        with pytest.raises(BackendTimedOut, match=r"demo produced no token within 0\.5 s"):
            await backend.probe()
        await backend.close()
