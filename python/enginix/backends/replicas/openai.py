"""Several servers of the OpenAI API that serve one model, as one backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import orjson

from enginix.backends.openai.connection import Connection
from enginix.backends.openai.http import HttpClient
from enginix.backends.openai.server import SILENCE_SECONDS, OpenAIBackend
from enginix.backends.replicas.prefixes import prefix_blocks
from enginix.backends.replicas.replica import Replica
from enginix.backends.replicas.replicas import Replicas
from enginix.errors import BackendUnavailable, ReplicaMismatch

# Statuses that mean that nothing was generated, and that another server may do better.
FULL, NOT_READY = 429, 503


class OpenAIReplica:
    def __init__(self, url: str, model: str) -> None:
        self.http = HttpClient(url, name=f"the server at {url}")
        self._backend = OpenAIBackend(self.http.name, url, model)
        self._model = model

    async def reach(self) -> None:
        async with self.http.request("GET", "/v1/models") as response:
            text = await response.read_error()
        models = _names(text) if response.status == 200 else set()
        if models and self._model not in models:
            raise ReplicaMismatch(
                f"{self.http.name} serves {', '.join(sorted(models))}, expected {self._model}"
            )

    async def probe(self) -> None:
        await self._backend.probe()

    async def close(self) -> None:
        await self._backend.close()
        await self.http.close()


class ReplicatedHttp:
    """Sends each request to one of the servers."""

    def __init__(self, name: str, urls: Sequence[str], model: str) -> None:
        self.name = name
        self._servers = {url: OpenAIReplica(url, model) for url in urls}
        self.replicas = Replicas([Replica(url, each) for url, each in self._servers.items()])

    @property
    def outages(self) -> int:
        return sum(server.http.outages for server in self._servers.values())

    @asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        silence: float | None = None,
    ) -> AsyncIterator[Connection]:
        """As one server's; a request that nothing was generated for is sent to the next."""
        blocks = prefix_blocks(body)
        left = self.replicas.in_order(blocks)
        while left:
            replica = left.pop(0)
            http = self._servers[replica.address].http
            asked = http.request(method, path, body, headers, silence=silence)
            with replica.at_work():
                async with AsyncExitStack() as stack:
                    response = await _begun(replica, stack, asked, streams=silence is not None)
                    if response is None or (left and response.status in (FULL, NOT_READY)):
                        replica.retried()
                        continue
                    self.replicas.remember(blocks, replica)
                    with replica.streaming(response):
                        yield response
                    return
        raise self.replicas.unavailable()

    async def close(self) -> None:
        await self.replicas.close()
        await asyncio.gather(*(server.close() for server in self._servers.values()))


async def _begun(
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
                await response.begun()
    except BackendUnavailable as error:
        replica.doubt(error)
        return None
    return response


class ReplicatedOpenAI(OpenAIBackend):
    """Belongs to the event loop it was created in."""

    def __init__(
        self, name: str, urls: Sequence[str], model: str, *, silence: float = SILENCE_SECONDS
    ) -> None:
        super().__init__(name, urls[0], model, silence=silence)
        self._spread = self._http = ReplicatedHttp(name, urls, model)

    @property
    def replicas(self) -> Sequence[Replica]:
        return self._spread.replicas.all

    async def probe(self) -> None:
        await self._spread.replicas.probe()


def _names(body: bytes) -> set[str]:
    """The models in a list of /v1/models; empty if it is none."""
    try:
        return {str(model["id"]) for model in orjson.loads(body)["data"]}
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return set()
