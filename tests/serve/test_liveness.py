"""A wedged server is found out within ten seconds, a busy one never; on a clock of the test's."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from enginix.errors import BackendTimedOut, BackendUnavailable
from enginix.serve.liveness import Clock, Vitals, until_wedged

PROBE_SECONDS = 2.0


@dataclass
class Engine:
    """Its life on a simulated clock: what it does at which second is the test's to say."""

    now: float = 0.0
    ends: float = 3600.0
    wedged_at: float = float("inf")
    refuses: bool = False
    spins: bool = False
    tokens_until: float = 0.0
    """Real traffic's tokens flow until then, twenty a second."""
    prefills: list[tuple[float, float]] = field(default_factory=list)
    """From when to when it computes a prompt and says nothing to anybody."""
    counts: bool = True
    probes: int = 0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)
        if self.now > self.ends:
            raise asyncio.CancelledError

    async def tokens(self) -> float | None:
        if not self.counts:
            return None
        until = min(self.now, self.tokens_until, self.wedged_at)
        silent = sum(min(end, until) - start for start, end in self.prefills if start < until)
        return int((until - silent) * 20)

    async def probe(self) -> None:
        self.probes += 1
        until = next((end for start, end in self.prefills if start <= self.now < end), self.now)
        if self.now >= self.wedged_at:
            if self.refuses:
                raise BackendUnavailable("503")
            until = float("inf")
        if until - self.now > PROBE_SECONDS:
            await self.sleep(PROBE_SECONDS)
            raise BackendTimedOut("no token within 2 s")
        await self.sleep(until - self.now + 0.05)

    def processor_seconds(self) -> float:
        if self.spins:
            return self.now
        return sum(min(end, self.now) - start for start, end in self.prefills if start < self.now)

    async def until_wedged(self) -> str:
        vitals = Vitals(self.probe, self.tokens, self.processor_seconds)
        return await until_wedged(vitals, clock=Clock(lambda: self.now, self.sleep))


@pytest.mark.parametrize("wedged_at", [30 + step * 0.13 for step in range(30)])
@pytest.mark.parametrize("refuses", [False, True])
@pytest.mark.parametrize("tokens_until", [0, 1000])
async def test_a_wedge_is_known_within_ten_seconds(
    wedged_at: float, refuses: bool, tokens_until: float
) -> None:
    engine = Engine(wedged_at=wedged_at, refuses=refuses, tokens_until=tokens_until)
    assert "3 times in a row" in await engine.until_wedged()
    assert engine.now - wedged_at <= 10


async def test_an_hour_of_heavy_load_with_long_prefills_restarts_nothing() -> None:
    prefills = [(float(start), start + 60.0) for start in range(30, 3500, 90)]
    engine = Engine(tokens_until=3600, prefills=prefills)
    with pytest.raises(asyncio.CancelledError):
        await engine.until_wedged()


async def test_an_hour_without_anybody_restarts_nothing() -> None:
    engine = Engine()
    with pytest.raises(asyncio.CancelledError):
        await engine.until_wedged()
    assert 700 <= engine.probes <= 1300


async def test_flowing_tokens_are_proof_enough_and_nobody_probes() -> None:
    engine = Engine(tokens_until=3600)
    with pytest.raises(asyncio.CancelledError):
        await engine.until_wedged()
    assert engine.probes == 0


async def test_probes_alone_find_a_wedge_where_nobody_counts_tokens() -> None:
    engine = Engine(wedged_at=50, counts=False)
    assert await engine.until_wedged()
    assert engine.now <= 60


async def test_a_server_that_computes_for_ever_without_a_token_is_wedged_too() -> None:
    engine = Engine(wedged_at=50, spins=True)
    assert "it was busy for" in await engine.until_wedged()
    assert 170 <= engine.now <= 190
