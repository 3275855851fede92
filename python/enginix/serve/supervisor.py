"""Runs a profile's servers: starts them in order, each after the one before is ready.

Each is kept serving until the caller leaves; all of them end then, and also when this process is
killed (they die with their parent).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from enginix.errors import StartFailed
from enginix.serve.keeper import Keeper

Report = Callable[[Keeper, StartFailed | None], None]


class Supervisor:
    def __init__(self, keepers: Sequence[Keeper]) -> None:
        self.keepers = {keeper.name: keeper for keeper in keepers}

    async def watch(self) -> None:
        """Return never: the keepers do the work."""
        await asyncio.get_running_loop().create_future()


@asynccontextmanager
async def supervised(
    keepers: Sequence[Keeper],
    report: Report,
    optional: frozenset[str] = frozenset(),
) -> AsyncIterator[Supervisor]:
    """All servers started, in order; `report` is called with each, and with why it failed.

    One that fails at first ends all, unless it is among the `optional`: those are tried again
    while the others serve.
    """
    async with AsyncExitStack() as stack:
        for keeper in keepers:
            # Before the start: a start that fails half way leaves a process, too.
            stack.push_async_callback(keeper.unload)
            try:
                await keeper.load()
            except StartFailed as failure:
                report(keeper, failure)
                if keeper.name not in optional:
                    raise
            else:
                report(keeper, None)
        yield Supervisor(keepers)
