"""Runs a profile's servers: starts them in order, each once the previous one is ready.

Each is kept serving until the block ends; then all of them end, and also when this process is
killed (they die with their parent).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from enginix.errors import StartFailed


class Server(Protocol):
    """A RestartingServer, or several that serve one model."""

    @property
    def name(self) -> str: ...

    async def load(self) -> None: ...

    async def unload(self) -> None: ...


Report = Callable[[Server, StartFailed | None], None]


@asynccontextmanager
async def supervised(
    servers: Sequence[Server],
    report: Report,
    optional: frozenset[str] = frozenset(),
) -> AsyncIterator[None]:
    """All servers started, in order; `report` is called with each, and with why it failed.

    A server that fails its first start ends all, unless it is `optional`: those are tried again
    while the others serve.
    """
    async with AsyncExitStack() as stack:
        for server in servers:
            # Before the start: a start that fails halfway also leaves a process.
            stack.push_async_callback(server.unload)
            try:
                await server.load()
            except StartFailed as failure:
                report(server, failure)
                if server.name not in optional:
                    raise
            else:
                report(server, None)
        yield
