"""A server is ready by its deadline, or is ended with an error."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from enginix.errors import StartFailed, UsageError
from enginix.process import descendants
from enginix.triton.server.command import Installation, ServerOptions, tritonserver_command
from enginix.triton.server.launch import Launch, launched, require_ports_free
from tests.conftest import free_ports

HANGS_AND_IGNORES_SIGNALS = """
import signal
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
signal.pause()
"""


def launch(program: str, deadline: float = 20) -> Launch:
    options = ServerOptions(exit_timeout=1)
    return Launch([sys.executable, "-c", program], os.environ, options, deadline)


def answers(value: bool) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return value

    return check


def command(**settings: object) -> list[str]:
    options = ServerOptions(**settings)  # type: ignore[arg-type]
    where = Installation(Path("/ts/bin/tritonserver"))
    return tritonserver_command(where, Path("/repo"), options, shm_prefix="p")


def test_each_port_is_given_once() -> None:
    words = command(http_port=1, grpc_port=2, metrics_port=3)
    assert [word for word in words if "-port=" in word] == [
        *("--http-port=1", "--grpc-port=2", "--metrics-port=3"),
    ]


def test_an_ipv6_address_is_spelled_as_each_of_tritons_servers_reads_it() -> None:
    assert [word for word in command(host="::1") if "-address=" in word] == [
        *("--http-address=ipv6:::1", "--grpc-address=[::1]", "--metrics-address=ipv6:::1"),
    ]


def test_only_the_requested_models_are_loaded() -> None:
    where = Installation(Path("tritonserver"))
    words = tritonserver_command(
        where, Path("/repo"), ServerOptions(), shm_prefix="p", only=["tensorrt_llm"]
    )
    assert [word for word in words if "load-model" in word] == ["--load-model=tensorrt_llm"]


def test_a_server_on_every_address_is_probed_on_loopback() -> None:
    assert ServerOptions("0.0.0.0", 8000).ready_url == "http://127.0.0.1:8000/v2/health/ready"


async def test_a_ready_server_runs_until_the_block_ends() -> None:
    before = descendants(os.getpid())
    async with launched(launch("import signal; signal.pause()"), answers(True)) as server:
        assert server.returncode is None
    assert set(descendants(os.getpid())) <= set(before)


async def test_a_server_that_ends_early_is_explained() -> None:
    with pytest.raises(StartFailed, match="exited with status 3 before it was ready"):
        async with launched(launch("raise SystemExit(3)"), answers(False)):
            pass


async def test_a_server_that_hangs_and_ignores_signals_is_killed_at_the_deadline() -> None:
    before = descendants(os.getpid())
    with pytest.raises(StartFailed, match=r"not ready within 0\.3 s and was killed"):
        async with launched(launch(HANGS_AND_IGNORES_SIGNALS, deadline=0.3), answers(False)):
            pass
    assert set(descendants(os.getpid())) <= set(before)


def test_two_services_on_one_port_are_refused() -> None:
    port, other = free_ports(2)
    options = ServerOptions(http_port=port, grpc_port=other, metrics_port=port)
    with pytest.raises(UsageError, match=f"--http-port and --metrics-port are both {port}"):
        require_ports_free(options)
