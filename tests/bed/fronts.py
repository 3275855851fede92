"""What spreads requests over the hosts: the real Envoy, or a gateway that knows several Tritons."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.bed.programs import Node, gateway_of
from tests.conftest import free_ports
from tests.deploy.real_envoy import RunningEnvoy, running_envoy, until


@dataclass(frozen=True, slots=True)
class EnvoyFront:
    envoy: RunningEnvoy

    @property
    def url(self) -> str:
        return self.envoy.url

    @property
    def pid(self) -> int:
        return self.envoy.process.pid

    async def serving(self) -> set[str]:
        return {gateway.rpartition(":")[0] for gateway in await self.envoy.healthy()}


@dataclass(frozen=True, slots=True)
class GatewayFront:
    url: str
    pid: int

    async def serving(self) -> set[str]:
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as client:
            (model,) = (await client.get("/v1/status")).json()["models"]
        return {
            each["address"].rpartition(":")[0] for each in model["replicas"] if each["in_rotation"]
        }


@asynccontextmanager
async def envoy_before(nodes: Sequence[Node]) -> AsyncIterator[EnvoyFront]:
    """Envoy on this machine in front of all gateways."""
    async with running_envoy(*(node.http for node in nodes)) as envoy:
        front = EnvoyFront(envoy)
        await _all_serve(front, nodes)
        yield front


@asynccontextmanager
async def gateway_before(engine: Path, nodes: Sequence[Node]) -> AsyncIterator[GatewayFront]:
    """A gateway on this machine in front of all Tritons."""
    (port,) = free_ports(1)
    with gateway_of(engine, nodes, port) as program:
        front = GatewayFront(f"http://127.0.0.1:{port}", program.pids()[0])
        await _all_serve(front, nodes)
        yield front


async def _all_serve(front: EnvoyFront | GatewayFront, nodes: Sequence[Node]) -> None:
    async def all_do() -> bool:
        return len(await front.serving()) == len(nodes)

    await until(all_do, 60)
