"""The machine that leads, and those that join it, without Open MPI."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from enginix.errors import ProcessError
from enginix.triton.server.nodes import Nodes, follow, leading
from tests.conftest import free_ports


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_a_node_that_waits_does_not_keep_the_one_that_leads_from_ending(
    address: str, tmp_path: Path
) -> None:
    if ":" in address and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    (port,) = free_ports(1)
    nodes = Nodes(3, "engine", tmp_path / "socket", port)
    joined = asyncio.Event()

    async def lead() -> None:
        async with leading(nodes, 600.0, lambda line: None):
            pytest.fail("the third machine is missing")

    leader = asyncio.create_task(lead())
    node = asyncio.create_task(
        follow(replace(nodes, leader=address), {}, 60.0, lambda line: joined.set())
    )
    async with asyncio.timeout(120):
        await joined.wait()
        leader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leader
        with pytest.raises(ProcessError, match="has ended before it started ranks here"):
            await node
