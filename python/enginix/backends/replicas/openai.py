"""Several servers of the OpenAI API that serve one model, as one backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import orjson

from enginix.backends.openai.connection import Connection
from enginix.backends.openai.server import SILENCE_SECONDS, UNKNOWN_ORIGIN, OpenAIBackend
from enginix.backends.replicas.prefixes import prefix_blocks
from enginix.backends.replicas.replica import Replica
from enginix.backends.replicas.replicas import Replicas
from enginix.errors import BackendUnavailable, ReplicaMismatch
from enginix.generation.request import Origin

# Statuses that mean that nothing was generated, and that another server may do better.
FULL, NOT_READY = 429, 503


class OpenAIReplica(OpenAIBackend):
    async def reach(self) -> None:
        async with self.http.request("GET", "/v1/models") as response:
            text = await response.read_error()
        models = _names(text) if response.status == 200 else set()
        if models and self.model not in models:
            raise ReplicaMismatch(
                f"{self.name} serves {', '.join(sorted(models))}, expected {self.model}"
            )


class ReplicatedOpenAI(OpenAIBackend):
    """Belongs to the event loop it was created in."""

    def __init__(
        self,
        name: str,
        urls: Sequence[str],
        model: str,
        *,
        task: str = "generate",
        only_chats: bool = False,
        silence: float = SILENCE_SECONDS,
    ) -> None:
        super().__init__(name, urls[0], model, task=task, only_chats=only_chats)
        self._servers = {
            url: OpenAIReplica(
                f"the server at {url}",
                url,
                model,
                task=task,
                only_chats=only_chats,
                silence=silence,
            )
            for url in urls
        }
        self._replicas = Replicas([Replica(url, each) for url, each in self._servers.items()])

    @property
    def replicas(self) -> Sequence[Replica]:
        return self._replicas.all

    @property
    def outages(self) -> int:
        return sum(server.outages for server in self._servers.values())

    @asynccontextmanager
    async def ask(
        self, path: str, body: bytes, origin: Origin = UNKNOWN_ORIGIN, *, streams: bool = False
    ) -> AsyncIterator[Connection]:
        """As one server; a request that nothing was generated for is sent to the next."""
        blocks = prefix_blocks(body)
        left = self._replicas.in_order(blocks)
        while left:
            replica = left.pop(0)
            server = self._servers[replica.address]
            asked = server.ask(path, body, origin, streams=streams)
            with replica.at_work():
                async with AsyncExitStack() as stack:
                    response = await _first_bytes(replica, stack, asked, streams=streams)
                    if response is None or (left and response.status in (FULL, NOT_READY)):
                        replica.retried()
                        continue
                    self._replicas.remember(blocks, replica)
                    with replica.streaming(response):
                        yield response
                    return
        raise self._replicas.unavailable()

    async def probe(self) -> None:
        await self._replicas.probe()

    async def close(self) -> None:
        await self._replicas.close()
        await asyncio.gather(*(server.close() for server in self._servers.values()))


async def _first_bytes(
    replica: Replica,
    stack: AsyncExitStack,
    asked: AbstractAsyncContextManager[Connection],
    *,
    streams: bool,
) -> Connection | None:
    """The response once something of it is here; None if the replica could not give one."""
    try:
        async with replica.beginning():
            response = await stack.enter_async_context(asked)
            if streams:
                await response.first_bytes()
    except BackendUnavailable as error:
        replica.doubt(error)
        return None
    return response


def _names(body: bytes) -> set[str]:
    """The models in a list of /v1/models; empty if it is none."""
    try:
        return {str(model["id"]) for model in orjson.loads(body)["data"]}
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return set()
