"""A real server, wedged in every known way: found out, started again, and serving again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from enginix.backends.openai.server import OpenAIBackend
from enginix.errors import BackendError
from enginix.serve.restart import RestartingServer
from enginix.serve.server_process import ServerSpec, State
from enginix.serve.wedge import Policy
from tests.conftest import free_ports

PROGRAM = Path(__file__).parent.parent / "fakes" / "wedged_server.py"
# The same rules as in service, a tenth as patient.
SHORT = Policy(
    look_every=0.1,
    look_again=0.05,
    probe_every=0.3,
    probe_again=0.1,
    apart=0.05,
    busy=5.0,
    working=0.01,
)


@asynccontextmanager
async def running_server(
    directory: Path, policy: Policy = SHORT
) -> AsyncIterator[tuple[RestartingServer, str]]:
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    backend = OpenAIBackend("stand-in", url, "m", probe_seconds=0.2)

    async def is_ready() -> bool:
        try:
            await backend.probe()
        except BackendError:
            return False
        return True

    argv = [sys.executable, str(PROGRAM), str(port)]
    spec = ServerSpec("stand-in", argv, directory / "log", is_ready, deadline=20)
    server = RestartingServer(spec, probe=backend.probe, policy=policy)
    try:
        await server.load()
        yield server, url
    finally:
        await server.unload()
        await backend.close()


async def wedge(url: str, how: str) -> None:
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        await client.post(f"{url}/wedge/{how}")


@pytest.mark.parametrize("how", ["silent", "hollow", "refusing", "stopping"])
async def test_a_wedged_server_is_started_again_and_serves(tmp_path: Path, how: str) -> None:
    async with running_server(tmp_path) as (server, url):
        await wedge(url, how)
        await serving_again(server)
        assert "stand-in is wedged: no token came out" in (server.process.error or "")


@pytest.mark.parametrize("how", ["every2", "every4"])
async def test_a_server_of_whose_requests_some_hang_is_started_again(
    tmp_path: Path, how: str
) -> None:
    policy = replace(SHORT, hang=0.1)
    async with running_server(tmp_path, policy) as (server, url):
        await wedge(url, how)
        await serving_again(server)
        assert "stand-in is " in (server.process.error or "")


@pytest.mark.parametrize("how", ["gone", "zombie"])
async def test_a_server_that_is_gone_is_started_again_and_serves(tmp_path: Path, how: str) -> None:
    async with running_server(tmp_path) as (server, url):
        # Its process goes while it answers.
        await asyncio.gather(wedge(url, how), return_exceptions=True)
        await serving_again(server)
        assert "stand-in " in (server.process.error or "")


async def test_a_busy_server_is_left_alone(tmp_path: Path) -> None:
    async with running_server(tmp_path) as (server, url):
        pid = server.process.pid
        await wedge(url, "busy")
        # Three strikes would take less than one second, and its patience is over after five.
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await server.process.change.wait()
        assert (server.process.pid, server.restarts) == (pid, 0)


async def serving_again(server: RestartingServer) -> None:
    async with asyncio.timeout(20):
        while not (server.restarts and server.process.state is State.LOADED):
            await server.process.change.wait()
    assert server.restarts == 1
