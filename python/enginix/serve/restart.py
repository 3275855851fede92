"""Keeps one server serving: started again when it ends or is wedged, ever later if that is in vain.

The only caller of what changes its child.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from enginix.errors import ProcessError, StartFailed
from enginix.serve.backoff import Backoff
from enginix.serve.judge import Policy
from enginix.serve.liveness import POLICY, Seen, Vitals, until_dead
from enginix.serve.server_process import ServerProcess, ServerSpec, State

logger = logging.getLogger(__name__)

ROTATE_SECONDS = 60.0

Probe = Callable[[], Awaitable[None]]
Traffic = Callable[[], Awaitable[Seen]]

BACKOFF = Backoff()
RARELY = Policy(probe_every=10.0)


class RestartingServer:
    """`probe` is asked whether tokens come out; `traffic` is what is seen of real requests.

    `rare_probe` is asked now and then about all that the server has beside its engine.
    """

    def __init__(
        self,
        spec: ServerSpec,
        *,
        probe: Probe | None = None,
        rare_probe: Probe | None = None,
        traffic: Traffic | None = None,
        policy: Policy = POLICY,
        backoff: Backoff = BACKOFF,
    ) -> None:
        self.child = ServerProcess(spec)
        self.restarts = 0
        self._vitals = (
            Vitals(probe, traffic or _unknown, self.child.processor_seconds) if probe else None
        )
        self._rare = (
            Vitals(rare_probe, _unknown, self.child.processor_seconds) if rare_probe else None
        )
        self._policy = policy
        self._backoff = backoff
        self._task: asyncio.Task[None] | None = None
        self._settled: asyncio.Future[None] | None = None
        """How the start that is under way, or was the last one, came out."""
        self._turn = asyncio.Lock()

    @property
    def name(self) -> str:
        return self.child.spec.name

    async def load(self, *, persistent: bool = True) -> None:
        """Start it and keep it; return when it is ready, raise StartFailed if it fails first.

        After a failure it goes on being started, if `persistent`: `unload` ends that. One that
        waits for its next start is started now.
        """
        async with self._turn:
            if self.child.state is State.ERROR:
                await self._leave()
                # What is left of it may still be ending.
                await self.child.stop()
            if self._task is None:
                self._settled = asyncio.get_running_loop().create_future()
                self._task = asyncio.create_task(self._keep(persistent))
            settled = self._settled
        assert settled is not None
        await asyncio.shield(settled)

    async def unload(self) -> None:
        """End it and keep it no more."""
        async with self._turn:
            await self._leave()
            await self.child.stop()

    async def _leave(self) -> None:
        """Keep it no more; its process stays as it is."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        if self._settled is not None and not self._settled.done():
            _fail(self._settled, StartFailed(f"{self.name} was unloaded before it was ready"))

    async def _keep(self, persistent: bool) -> None:
        failures = 0
        has_served = False
        while True:
            settled = self._settled
            if settled is None or settled.done():
                settled = self._settled = asyncio.get_running_loop().create_future()
            began = time.monotonic()
            why, wedged = await self._serve(settled)
            failures = self._backoff.count(failures, time.monotonic() - began)
            await self.child.fail(why, at_once=wedged)
            has_served = has_served or settled.done()
            if not settled.done():
                _fail(settled, StartFailed(why))
            if not has_served and not persistent:
                self._task = None
                return
            delay = self._backoff.delay(failures)
            when = f" in {delay:g} s" if delay else ""
            logger.error("%s is started again%s: %s", self.name, when, why)
            await asyncio.sleep(delay)
            self.restarts += 1

    async def _serve(self, settled: asyncio.Future[None]) -> tuple[str, bool]:
        """From its start to its end: why it ended, and whether it did not by itself."""
        try:
            await self.child.start()
        except ProcessError as error:
            return str(error), False
        if not settled.done():
            settled.set_result(None)
        if self.restarts:
            logger.warning("%s serves again", self.name)
        async with _running(self.child.ended()) as ended, _running(self._dead()) as wedged:
            async with _running(self._rotate()):
                await asyncio.wait({ended, wedged}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return ended.result(), False
            return f"{self.name} is wedged: {wedged.result()}", True

    async def _dead(self) -> str:
        watches = [(self._vitals, self._policy), (self._rare, RARELY)]
        running = [
            asyncio.create_task(until_dead(vitals, policy)) for vitals, policy in watches if vitals
        ]
        if not running:
            never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            return await never
        try:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)

    async def _rotate(self) -> str:
        while True:
            await asyncio.sleep(ROTATE_SECONDS)
            self.child.log.rotate()


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, str]) -> AsyncIterator[asyncio.Task[str]]:
    """A task that is over when the block is."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({task})


def _fail(settled: asyncio.Future[None], error: StartFailed) -> None:
    settled.set_exception(error)
    # Nobody has to ask for it; without this, the loop complains of that.
    settled.exception()


async def _unknown() -> Seen:
    return Seen()
