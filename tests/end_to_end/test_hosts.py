"""Two hosts, each with the real Triton and a gateway: one fails, the other serves on.

They are behind the real Envoy, or their Tritons behind one gateway.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from enginix.runtimes.runtime import Runtime
from tests.bed import faults
from tests.bed.faults import Fault, Front, Seen
from tests.bed.fronts import envoy_before, gateway_before
from tests.bed.hosts import why_none
from tests.bed.programs import Node, nodes
from tests.deploy.real_envoy import needs_envoy

pytestmark = pytest.mark.triton

# The streams run while the fault comes; those that must not have ended by then are longer.
TOKENS, MORE_TOKENS = 800, 2500
AT_ONCE = 4
# Measured on an idle machine: 3 s at most (benchmarks/hosts.py). The tests' machine is busy.
OUT_SECONDS = 20


@dataclass(frozen=True)
class Bed:
    nodes: list[Node]
    long_answers: dict[int, str]
    """Of one host alone, by their tokens."""

    async def suffer(self, front: Front, fault: Fault, tokens: int = TOKENS) -> Seen:
        seen = await faults.suffer(front, self.nodes, fault, at_once=AT_ONCE, tokens=tokens)
        return self.judged(seen, tokens)

    def judged(self, seen: Seen, tokens: int = TOKENS) -> Seen:
        """Whatever came, and however it ended, was what one host alone says."""
        alone = self.long_answers[tokens]
        for stream in seen.streams:
            assert alone.startswith(stream.text)
            assert stream.end != "whole" or stream.text == alone
        assert seen.out < OUT_SECONDS
        return seen


@pytest.fixture(scope="module")
def bed(runtime: Runtime, demo_engine: Path) -> Iterator[Bed]:
    if reason := why_none():
        pytest.skip(reason)
    with nodes(demo_engine, 2) as made:
        yield Bed(
            made,
            {count: faults.long_answer(made[0], count) for count in (TOKENS, MORE_TOKENS)},
        )


@pytest.fixture
async def envoy(bed: Bed) -> AsyncIterator[Front]:
    async with envoy_before(bed.nodes) as front:
        yield front


@pytest.fixture
async def gateway(bed: Bed, demo_engine: Path) -> AsyncIterator[Front]:
    async with gateway_before(demo_engine, bed.nodes) as front:
        yield front


def only_begun_streams_failed(seen: Seen) -> None:
    ends = seen.ends()
    assert 1 <= ends["error"] <= seen.on_hit
    assert ends["error"] + ends["whole"] == len(seen.streams)
    for each in seen.failed:
        assert each.began < seen.hit_at + seen.out
        assert '"error"' in str(each.wrong)


def only_those_on_it_failed(seen: Seen) -> None:
    """Or none: what waited goes on if the host is back soon enough."""
    assert seen.ends()["whole"] >= len(seen.streams) - seen.on_hit
    assert all(each.began < seen.hit_at + seen.out for each in seen.failed)


@needs_envoy
async def test_a_killed_triton_fails_only_the_streams_that_it_had_begun(
    bed: Bed, envoy: Front
) -> None:
    only_begun_streams_failed(await bed.suffer(envoy, faults.KILL_TRITON, MORE_TOKENS))


@needs_envoy
async def test_no_request_fails_while_every_gateway_is_restarted(bed: Bed, envoy: Front) -> None:
    seen = bed.judged(
        await faults.restart_gateways(envoy, bed.nodes, at_once=AT_ONCE, tokens=TOKENS)
    )
    assert not seen.failed
    assert seen.ends() == {"whole": len(seen.streams)}


@needs_envoy
async def test_requests_avoid_a_frozen_gateway_and_it_finishes_its_own_once_it_runs(
    bed: Bed, envoy: Front
) -> None:
    seen = await bed.suffer(envoy, faults.FREEZE_GATEWAY)
    assert not seen.failed
    assert seen.ends() == {"whole": len(seen.streams)}


@needs_envoy
async def test_requests_avoid_a_host_that_is_cut_off(bed: Bed, envoy: Front) -> None:
    only_those_on_it_failed(await bed.suffer(envoy, faults.CUT_OFF))


async def test_a_gateway_avoids_a_killed_triton_and_only_its_begun_streams_fail(
    bed: Bed, gateway: Front
) -> None:
    only_begun_streams_failed(await bed.suffer(gateway, faults.KILL_TRITON, MORE_TOKENS))


async def test_a_gateway_avoids_a_frozen_triton_and_touches_no_stream_of_another(
    bed: Bed, gateway: Front
) -> None:
    only_those_on_it_failed(await bed.suffer(gateway, faults.FREEZE_TRITON))
