"""The gateways that follow a supervisor: they hear which models may be asked, and say what runs.

Both are lines of JSON on one connection. A gateway hears {"generation": N, "models": [...]} when
that changes, and says {"seen": N, "requests": {model: [running now, ever started]}} when that does.
A model is drained once every gateway has seen that it may be asked no more, and has nothing left
of it.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

from enginix.errors import BackendError


class Subscribers:
    """Every gateway process that follows."""

    def __init__(self) -> None:
        self.generation = 0
        self._models: list[dict[str, Any]] = []
        self._followers: set[Subscriber] = set()
        self._change = asyncio.Event()

    def __len__(self) -> int:
        return len(self._followers)

    def tell(self, models: list[dict[str, Any]]) -> None:
        """All hear it, and those who come later."""
        if models == self._models:
            return
        self.generation += 1
        self._models = models
        for follower in self._followers:
            self._tell(follower)

    async def follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One gateway's connection, until it closes it."""
        follower = Subscriber(writer)
        self._followers.add(follower)
        self._tell(follower)
        try:
            while line := await reader.readline():
                follower.hear(line)
                self._changed()
        finally:
            self._followers.discard(follower)
            self._changed()

    def running(self, model: str) -> int:
        """How many of its requests run or wait, in all gateways."""
        return sum(follower.requests.get(model, (0, 0))[0] for follower in self._followers)

    def started(self, model: str) -> int:
        """How many have ever started, as far as those gateways remember that still follow."""
        return sum(follower.requests.get(model, (0, 0))[1] for follower in self._followers)

    async def drained(self, model: str, seconds: float) -> int:
        """Wait until nothing of it runs any more; how much still does after so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                while self.running(model) or not self._all_have_seen():
                    await self._change.wait()
        except TimeoutError:
            return self.running(model)
        return 0

    async def heard(self, seconds: float) -> None:
        """Wait until every gateway has seen the latest, or for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._all_have_seen():
                    await self._change.wait()

    def _all_have_seen(self) -> bool:
        return all(follower.seen >= self.generation for follower in self._followers)

    def _tell(self, follower: Subscriber) -> None:
        news = {"generation": self.generation, "models": self._models}
        follower.writer.write(json.dumps(news).encode() + b"\n")

    def _changed(self) -> None:
        self._change.set()
        self._change = asyncio.Event()


class Subscriber:
    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.seen = -1
        self.requests: dict[str, tuple[int, int]] = {}

    def hear(self, line: bytes) -> None:
        try:
            said = json.loads(line)
            self.seen = int(said["seen"])
            self.requests = {
                model: (int(running), int(started))
                for model, (running, started) in said["requests"].items()
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BackendError(
                f"a gateway said something else than its requests: {error}"
            ) from None
