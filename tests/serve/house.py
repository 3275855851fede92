"""A scheduler of fake servers, by a clock that a test moves, and a gateway that follows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from enginix.errors import StartFailed
from enginix.serve.liveness import Clock
from enginix.serve.managed_model import ManagedModel
from enginix.serve.model_entry import ModelEntry
from enginix.serve.replicas import Replica, ReplicaGroup
from enginix.serve.scheduler import ModelScheduler
from enginix.serve.server_process import State
from enginix.supervision import Availability, Report, decode_news, encode

REST, DRAIN = 30.0, 20.0


class Time:
    """Moves only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._sleepers.append((self.now + seconds, woken))
        await woken.wait()

    async def pass_by(self, seconds: float, step: float = 0.5) -> None:
        """In steps, so that whoever looks every half second does."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(self.now + step, until)
            for sleeper in [one for one in self._sleepers if one[0] <= self.now]:
                self._sleepers.remove(sleeper)
                sleeper[1].set()
            await settled()

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.now, self.sleep)


async def settled() -> None:
    """Everything that can go on without time has."""
    for _ in range(20):
        await asyncio.sleep(0)


@dataclass
class Server:
    """What the scheduler knows of a RestartingServer."""

    time: Time
    state: State = State.IDLE
    changed_at: float = 0.0
    fails: bool = False
    starts_when: asyncio.Event | None = None
    loads: list[bool] = field(default_factory=list)
    """The `persistent` of each."""
    unloads: int = 0
    name: str = "server"

    async def load(self, *, persistent: bool = True) -> None:
        self.loads.append(persistent)
        self.become(State.LOADING)
        if self.starts_when:
            await self.starts_when.wait()
        if self.fails or self.state is State.IDLE:
            self.become(State.ERROR if self.fails else State.IDLE)
            raise StartFailed("it did not start")
        self.become(State.LOADED)

    async def unload(self) -> None:
        self.unloads += 1
        self.become(State.IDLE)
        if self.starts_when:
            self.starts_when.set()

    def become(self, state: State) -> None:
        self.state, self.changed_at = state, self.time.now


def group(name: str, *servers: Any, endpoints: Sequence[str] = ()) -> ReplicaGroup:
    replicas = [Replica(f"host:{number}", one) for number, one in enumerate(servers)]
    return ReplicaGroup(name, replicas, endpoints)


class Gateway:
    """One that follows, and reports what a test says."""

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader()
        self.generation = 0
        self.told: dict[str, Availability] = {}
        self.resting: dict[str, list[str]] = {}

    def write(self, line: bytes) -> None:
        news = decode_news(line)
        self.generation = news.generation
        self.told = {model.name: model.availability for model in news.models}
        self.resting = {model.name: model.resting for model in news.models}

    async def report(self, **requests: tuple[int, int]) -> None:
        self.reader.feed_data(encode(Report(self.generation, requests)))
        await settled()


class House:
    """A scheduler of fake servers."""

    def __init__(self, *entries: ModelEntry, drain: float = DRAIN) -> None:
        self.time = Time()
        self.servers = {entry.name: Server(self.time) for entry in entries}
        models = [
            ManagedModel(entry, group(entry.name, self.servers[entry.name]), {"name": entry.name})
            for entry in entries
        ]
        self.scheduler = ModelScheduler(models, rest=REST, drain=drain, clock=self.time.clock)

    def availability(self, name: str) -> Availability:
        return self.scheduler.find(name).availability

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[Gateway]:
        gateway = Gateway()
        following = asyncio.create_task(
            self.scheduler.subscribers.follow(gateway.reader, gateway)  # type: ignore[arg-type]
        )
        await settled()
        try:
            yield gateway
        finally:
            gateway.reader.feed_eof()
            await following

    @asynccontextmanager
    async def expiring(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.scheduler.expire())
        await settled()
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})


def on_demand(name: str, **more: Any) -> ModelEntry:
    return ModelEntry(name, engine="vllm", on_demand=True, **{"memory": 0.6, **more})


def staying(name: str, **more: Any) -> ModelEntry:
    return ModelEntry(name, engine="vllm", **{"memory": 0.6, **more})
