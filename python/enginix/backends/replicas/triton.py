"""Several Tritons that serve one engine, as one backend."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from enginix.backends.replicas.prefixes import prefix_blocks
from enginix.backends.replicas.replica import Replica
from enginix.backends.replicas.replicas import Replicas
from enginix.backends.triton import TritonBackend
from enginix.errors import BackendUnavailable, ReplicaMismatch
from enginix.generation.lane import Lane
from enginix.generation.request import Take, TokenChunk, TokenRequest

# The parameter of Triton's model that names its engine, and how much of the hash is shown.
ENGINE, SHOWN = "enginix_engine", 12


@dataclass(frozen=True, slots=True)
class TritonReplica:
    backend: TritonBackend
    engine: str
    """The SHA-256 of the manifest of the engine that it must serve; empty for any."""

    async def reach(self) -> None:
        client = self.backend.client
        config = await client.control.config(client.model)
        found = config.parameters[ENGINE].string_value if ENGINE in config.parameters else ""
        # A Triton that enginix has not configured does not say what it serves.
        if found and self.engine and found != self.engine:
            raise ReplicaMismatch(
                f"Triton at {client.address} serves another engine: the SHA-256 of its manifest is "
                f"{found[:SHOWN]}, expected {self.engine[:SHOWN]}; serve the same engine there"
            )

    async def probe(self) -> None:
        await self.backend.probe()


class ReplicatedTriton:
    """Belongs to the event loop it was created in."""

    def __init__(self, name: str, servers: Sequence[TritonBackend], engine: str = "") -> None:
        self.name = name
        self._servers = {server.client.address: server for server in servers}
        self._replicas = Replicas(
            [
                Replica(address, TritonReplica(each, engine))
                for address, each in self._servers.items()
            ]
        )

    @property
    def replicas(self) -> Sequence[Replica]:
        return self._replicas.all

    @property
    def late_tokens(self) -> int:
        return sum(server.late_tokens for server in self._servers.values())

    async def generate(self, request: TokenRequest) -> AsyncGenerator[list[TokenChunk], None]:
        """As one Triton; a request that nothing was generated for is sent to the next replica."""
        blocks = prefix_blocks(array("i", request.prompt_ids).tobytes())
        for replica in self._replicas.in_order(blocks):
            with replica.at_work():
                sent = _noted(request, replica)
                async with aclosing(self._servers[replica.address].generate(sent)) as arrivals:
                    try:
                        async with replica.beginning():
                            chunks = await anext(arrivals)
                    except BackendUnavailable as error:
                        replica.doubt(error)
                        replica.retried()
                        continue
                    self._replicas.remember(blocks, replica)
                    # No other replica gets it any more, nor is its prompt kept.
                    del request, sent
                    try:
                        replica.token_came()
                        yield chunks
                        async for chunks in arrivals:
                            replica.token_came()
                            yield chunks
                    except BackendUnavailable as error:
                        replica.doubt(error)
                        raise
                    return
        raise self._replicas.unavailable()

    async def supported(self) -> frozenset[str]:
        for replica in self._replicas.in_order(()):
            try:
                async with replica.beginning():
                    return await self._servers[replica.address].supported()
            except BackendUnavailable as error:
                replica.doubt(error)
        raise self._replicas.unavailable()

    async def probe(self) -> None:
        await self._replicas.probe()

    async def close(self) -> None:
        await self._replicas.close()
        await asyncio.gather(*(server.close() for server in self._servers.values()))


class _Noting(Lane):
    """What a request takes, and its lane, if it has one; the replica is told of each token."""

    __slots__ = ("_lane", "_replica", "_take")

    def __init__(self, replica: Replica, take: Take, lane: Lane | None) -> None:
        super().__init__()
        self._replica = replica
        self._take = take
        self._lane = lane or Lane()

    def take(self, arrivals: list[tuple[int, ...]]) -> bool:
        self._replica.token_came()
        taken = self._take(arrivals)
        self.texts = self._lane.texts
        return taken

    def pass_on(self, found: list[Any]) -> None:
        self._replica.token_came()
        self._lane.pass_on(found)
        self.texts = self._lane.texts


def _noted(request: TokenRequest, replica: Replica) -> TokenRequest:
    """The replica is told of the tokens that do not come back from it, too."""
    if request.take is None:
        return request
    noting = _Noting(replica, request.take, request.lane)
    return replace(request, take=noting.take, lane=noting)
