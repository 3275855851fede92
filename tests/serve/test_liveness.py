"""The watch over a server: probes run beside each other, and end with it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from enginix.errors import BackendTimedOut
from enginix.serve.liveness import Seen, Vitals, until_dead
from enginix.serve.wedge import Policy

FAST = Policy(
    look_every=0.02, look_again=0.01, probe_every=0.04, probe_again=0.02, apart=0.01, hang=0.05
)
PROBE_SECONDS = 0.1


@dataclass
class Server:
    """Every `nth` probe hangs; nobody else asks it."""

    nth: int = 0
    probes: int = 0
    open: set[int] = field(default_factory=set)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def probe(self) -> None:
        self.probes += 1
        number = self.probes
        self.open.add(number)
        self.asked.set()
        try:
            if self.nth and number % self.nth == 0:
                await asyncio.sleep(PROBE_SECONDS)
                raise BackendTimedOut("no token within 0.1 s")
            await asyncio.sleep(0)
        finally:
            self.open.discard(number)

    async def traffic(self) -> Seen:
        return Seen()

    def vitals(self) -> Vitals:
        return Vitals(self.probe, self.traffic, lambda: 0.0)


@pytest.mark.parametrize("nth", [2, 3, 4])
async def test_probes_that_hang_beside_answered_ones_end_the_watch(nth: int) -> None:
    server = Server(nth)
    async with asyncio.timeout(10):
        assert "partly dead" in await until_dead(server.vitals(), FAST)
    assert not server.open


async def test_a_watch_that_is_cancelled_leaves_no_probe_behind() -> None:
    server = Server(nth=1)
    watch = asyncio.create_task(until_dead(server.vitals(), FAST))
    async with asyncio.timeout(10):
        await server.asked.wait()
    watch.cancel()
    await asyncio.wait({watch})
    assert not server.open


async def test_a_fault_of_our_own_is_not_taken_for_health() -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    server = Server()
    vitals = Vitals(broken, server.traffic, lambda: 0.0)
    async with asyncio.timeout(10):
        with pytest.raises(ZeroDivisionError):
            await until_dead(vitals, FAST)
