"""The servers of one model: which gets a request, and which of them generate."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from enginix.backends.replicas.prefixes import PrefixMemory
from enginix.backends.replicas.replica import LOOK_SECONDS, Replica
from enginix.errors import BackendUnavailable

logger = logging.getLogger(__name__)

# How long a token proves that a replica without requests generates.
FRESH_SECONDS = 5.0
# A conversation stays where its beginning is cached while that replica has at most so many requests
# more than the least busy one, or so much more in proportion.
EXTRA, SHARE = 1, 1.25
# On how many replicas a request may begin: one that fells its server must not fell them all.
ATTEMPTS = 3


class Replicas:
    """Belongs to the event loop it was created in; `close` it there."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self.all = tuple(replicas)
        self._memory = PrefixMemory()
        self._turn = 0
        self._watches = [asyncio.create_task(self._watch(one)) for one in self.all]
        for watch in self._watches:
            watch.add_done_callback(_log_failure)

    def in_order(self, blocks: Sequence[int]) -> list[Replica]:
        """Those that a request may begin on, the best first; lost ones are the last resort."""
        self._turn += 1
        number = len(self.all)
        order = sorted(
            (index for index in range(number) if not self.all[index].mismatch),
            key=lambda index: (
                self.all[index].lost,
                self.all[index].out is not None,
                self.all[index].resting,
                self.all[index].running,
                # Equally busy ones take turns.
                (index - self._turn) % number,
            ),
        )
        holder = self._memory.holder(blocks)
        if holder in order and _is_as_good(self.all[holder], self.all[order[0]]):
            order.remove(holder)
            order.insert(0, holder)
        return [self.all[index] for index in order[:ATTEMPTS]]

    def remember(self, blocks: Sequence[int], replica: Replica) -> None:
        """It has these blocks in its cache now."""
        self._memory.remember(blocks, self.all.index(replica))

    async def probe(self) -> None:
        """Return once any of them has proved that it generates; BackendUnavailable if none does."""
        if any(one.out is None and one.seconds_since_token() < FRESH_SECONDS for one in self.all):
            return
        looking = {asyncio.create_task(one.examine()) for one in self.all}
        try:
            while looking:
                _, looking = await asyncio.wait(looking, return_when=asyncio.FIRST_COMPLETED)
                if any(one.out is None for one in self.all):
                    return
        finally:
            for task in looking:
                task.cancel()
        raise self.unavailable()

    def unavailable(self) -> BackendUnavailable:
        """What is wrong with each of them."""
        return BackendUnavailable(
            f"none of {len(self.all)} replicas generates: "
            + "; ".join(one.out or f"{one.address} is restarting" for one in self.all)
        )

    async def close(self) -> None:
        for watch in self._watches:
            watch.cancel()
        await asyncio.wait(self._watches)

    async def _watch(self, replica: Replica) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await replica.doubted.wait()
            if replica.doubted.is_set() or self._is_uncertain(replica):
                replica.doubted.clear()
                await replica.examine()

    def _is_uncertain(self, replica: Replica) -> bool:
        if replica.out is not None:
            return True
        return replica.seconds_since_token() > (LOOK_SECONDS if replica.running else FRESH_SECONDS)


def _log_failure(watch: asyncio.Task[None]) -> None:
    """It ends when it is cancelled; anything else is a bug, which must be logged."""
    if not watch.cancelled() and (error := watch.exception()):
        logger.error("a replica is no longer watched", exc_info=error)


def _is_as_good(holder: Replica, first: Replica) -> bool:
    """Whether it may be asked for the sake of its cache instead of the least busy one."""
    if holder.out is not None or holder.resting:
        return False
    return holder.running <= max(first.running + EXTRA, first.running * SHARE)
