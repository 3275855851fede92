"""When a model fails, requests that already wait fail at once."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from fakes.backend import FakeBackend
from gateway.harness import application, ids, served, server, user

from enginix.errors import BackendTimedOut, BackendUnavailable
from enginix.gateway.models.record import RequestRecord
from enginix.gateway.models.state import Gateway
from enginix.gateway.settings import LoadLimits, Settings

PATH = "/v1/chat/completions"


@pytest.mark.parametrize("stream", [False, True])
async def test_requests_that_wait_for_a_dead_model_fail_within_two_seconds(stream: bool) -> None:
    backend = FakeBackend(ids("Hi"), stops_at=0)
    backend.probe_error = BackendUnavailable("Stub process is not healthy")
    async with server(served(backend)) as client:
        began = time.monotonic()
        answer = await client.post(PATH, json={"messages": user("Hi"), "stream": stream})
        assert time.monotonic() - began < 3
        assert answer.status_code == 503
        assert "not healthy" in answer.json()["error"]["message"]
        async with asyncio.timeout(1):
            await backend.idle.wait()


async def test_a_model_that_is_down_refuses_at_once_and_recovers_by_itself() -> None:
    backend = FakeBackend(ids("Hi"))
    backend.probe_error = BackendUnavailable("connection refused")
    async with server(served(backend)) as client:
        assert (await client.get("/health")).status_code == 503
        refused = await client.post(PATH, json={"messages": user("Hi")})
        asked = len(backend.asked)
        backend.probe_error = None
        async with asyncio.timeout(5):
            while (await client.post(PATH, json={"messages": user("Hi")})).status_code != 200:
                pass
    assert (refused.status_code, asked) == (503, 0)


async def test_a_model_that_is_slow_to_answer_probes_keeps_its_requests() -> None:
    backend = FakeBackend(ids("Hi"), stops_at=0)
    backend.probe_error = BackendTimedOut("no token within 5 s")
    async with server(served(backend)) as client:
        waiting = asyncio.create_task(client.post(PATH, json={"messages": user("Hi")}))
        while backend.probes < 2:
            await backend.stuck.wait()
            await client.get("/health")
        backend.go.set()
        assert (await waiting).status_code == 200


async def test_a_request_that_is_ended_while_its_failure_is_explained_is_a_503(
    tmp_path: Path,
) -> None:
    """The watch runs while the gateway queries the supervisor for the reason."""
    gateways: list[Gateway] = []

    async def give_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"status" in await reader.readline():
            for state in gateways[0].states.values():
                state.first_tokens.give_up("it is down")
            writer.write(b'{"servers": {}}\n')
        writer.close()

    settings = Settings(supervisor=tmp_path / "s")
    supervisor = await asyncio.start_unix_server(give_up, tmp_path / "s")
    async with supervisor, application(served(FakeBackend([])), settings=settings) as app:
        gateways.append(app.state.gateway)
        record = RequestRecord("id", "POST", PATH)
        with pytest.raises(BackendUnavailable, match="closed the connection"):
            async with gateways[0].at_work(gateways[0].states["demo"].model, record):
                raise BackendUnavailable("Triton closed the connection")


async def test_requests_that_wait_for_a_slot_of_a_dead_model_fail_with_the_others() -> None:
    backend = FakeBackend(ids("Hi"), stops_at=0)
    backend.probe_error = BackendUnavailable("Stub process is not healthy")
    settings = Settings(load=LoadLimits(running=1, waiting=8))
    async with server(served(backend), settings=settings) as client:
        began = time.monotonic()
        asked = (client.post(PATH, json={"messages": user("Hi")}) for _ in range(6))
        answers = await asyncio.gather(*asked)
        assert time.monotonic() - began < 4
    assert [answer.status_code for answer in answers] == [503] * 6
    assert len(backend.asked) == 1
