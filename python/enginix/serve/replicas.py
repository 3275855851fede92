"""The servers of one model: they start and end together, and one of them is enough to serve it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from enginix.errors import StartFailed
from enginix.serve.restart import RestartingServer
from enginix.serve.server_process import State

# A model is in the first of these states that one of its servers is in.
RANKS = (State.LOADED, State.LOADING, State.ERROR, State.IDLE)


@dataclass(slots=True)
class Replica:
    address: str
    """As gateways are told it."""
    server: RestartingServer
    resting: bool = False
    """Whether gateways send it no new requests."""


class ReplicaGroup:
    """`endpoints` are the addresses of servers elsewhere, which nothing here starts or ends."""

    def __init__(
        self, name: str, replicas: Sequence[Replica], endpoints: Sequence[str] = ()
    ) -> None:
        self.name = name
        self.replicas = replicas
        self.endpoints = endpoints
        self.created = time.time()
        """In seconds since 1970."""
        self._is_open = True
        """The state of endpoints alone."""

    @property
    def best(self) -> RestartingServer | None:
        """The one whose state is the model's, and of those the longest in it."""
        servers = [one.server for one in self.replicas]
        return min(servers, key=lambda one: (RANKS.index(one.state), one.changed_at), default=None)

    @property
    def state(self) -> State:
        if self.best is None:
            return State.LOADED if self._is_open else State.IDLE
        return self.best.state

    @property
    def changed_at(self) -> float:
        """When it came into its state, by the monotonic clock; endpoints alone: long ago."""
        return self.best.changed_at if self.best else 0.0

    def at(self, address: str) -> RestartingServer:
        return next(one.server for one in self.replicas if one.address == address)

    def worst_first(self) -> list[Replica]:
        """For a restart: one that serves is needed while one that does not is replaced."""
        return sorted(self.replicas, key=lambda one: one.server.state is State.LOADED)

    def others_serve(self, replica: Replica) -> bool:
        """Whether requests have a server, as far as is known here, while that one rests."""
        others = (one for one in self.replicas if one is not replica and not one.resting)
        return bool(self.endpoints) or any(one.server.state is State.LOADED for one in others)

    async def load(self, *, persistent: bool = True) -> None:
        """Return when each is ready or has failed; StartFailed if none is ready.

        With `persistent`, those that failed are tried again.
        """
        self._is_open = True
        starts = (one.server.load(persistent=persistent) for one in self.replicas)
        outcomes = await asyncio.gather(*starts, return_exceptions=True)
        failures = [each for each in outcomes if each is not None]
        for failure in failures:
            if len(failures) == len(outcomes) or not isinstance(failure, StartFailed):
                raise failure

    async def stop_loading(self) -> None:
        """End those that are not ready yet; who loads them gets StartFailed."""
        loading = [one for one in self.replicas if one.server.state is State.LOADING]
        await asyncio.gather(*(one.server.unload() for one in loading))

    async def unload(self) -> None:
        self._is_open = False
        await asyncio.gather(*(one.server.unload() for one in self.replicas))
