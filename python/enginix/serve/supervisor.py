"""Runs a profile's servers: starts them in order, each after the one before is ready.

They end together: when one ends by itself, when the caller leaves, and when this process is
killed (they die with their parent).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from enginix.errors import ProcessError
from enginix.serve.child import Child, ChildSpec


class Supervisor:
    def __init__(self, children: Sequence[Child]) -> None:
        self.children = children

    async def watch(self) -> None:
        """Return never; raise ProcessError when a child has ended by itself."""
        ends = [asyncio.create_task(child.ended()) for child in self.children]
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            raise ProcessError(done.pop().result())
        finally:
            for end in ends:
                end.cancel()


@asynccontextmanager
async def supervised(
    specs: Sequence[ChildSpec], report: Callable[[ChildSpec], None]
) -> AsyncIterator[Supervisor]:
    """All servers ready, in order; `report` is called with each that became ready."""
    async with AsyncExitStack() as stack:
        children = []
        for spec in specs:
            child = Child(spec)
            # Before the start: a start that fails half way leaves a process, too.
            stack.push_async_callback(child.stop)
            await child.start()
            children.append(child)
            report(spec)
        yield Supervisor(children)
