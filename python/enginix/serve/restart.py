"""Keeps one server serving: restarts it when it ends or is wedged, with growing delays.

Only this module starts and ends a server's process.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from enginix.errors import ProcessError, StartFailed
from enginix.serve.backoff import Backoff
from enginix.serve.liveness import POLICY, Probe, Seen, Vitals, until_dead
from enginix.serve.server_process import ServerProcess, ServerSpec, State
from enginix.serve.wedge import Policy

logger = logging.getLogger(__name__)

ROTATE_SECONDS = 60.0

Traffic = Callable[[], Awaitable[Seen]]

BACKOFF = Backoff()
RARELY = Policy(probe_every=10.0)


class RestartingServer:
    """`probe` checks that tokens come out; `traffic` reports what real requests show.

    `rare_probe` runs less often and checks what the server has around its engine.
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
        self.process = ServerProcess(spec)
        self.restarts = 0
        work = self.process.processor_seconds, self.process.processor_waits
        self._vitals = Vitals(probe, traffic or _unknown, *work) if probe else None
        self._rare = Vitals(rare_probe, _unknown, *work) if rare_probe else None
        self._policy = policy
        self._backoff = backoff
        self._task: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None] | None = None
        """The outcome of the current start, or of the last one."""
        self._lock = asyncio.Lock()

    @property
    def name(self) -> str:
        return self.process.spec.name

    @property
    def state(self) -> State:
        return self.process.state

    @property
    def changed_at(self) -> float:
        """When it came into its state, by the monotonic clock."""
        return self.process.changed_at

    async def load(self, *, persistent: bool = True) -> None:
        """Start it and keep it running; return when it is ready, StartFailed if it fails first.

        After a failure it is restarted if `persistent`, until `unload`. A server that waits for its
        next start is started now.
        """
        async with self._lock:
            if self.process.state is State.ERROR:
                await self._leave()
                # Its processes may still be ending.
                await self.process.stop()
            if self._task is None:
                self._ready = asyncio.get_running_loop().create_future()
                self._task = asyncio.create_task(self._keep(persistent))
            ready = self._ready
        assert ready is not None
        await asyncio.shield(ready)

    async def unload(self) -> None:
        """End it and stop restarting it."""
        async with self._lock:
            await self._leave()
            await self.process.stop()

    async def _leave(self) -> None:
        """Stop restarting it; its process stays as it is."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        if self._ready is not None and not self._ready.done():
            _fail(self._ready, StartFailed(f"{self.name} was unloaded before it was ready"))

    async def _keep(self, persistent: bool) -> None:
        failures = 0
        has_served = False
        while True:
            ready = self._ready
            if ready is None or ready.done():
                ready = self._ready = asyncio.get_running_loop().create_future()
            began = time.monotonic()
            why, wedged = await self._serve(ready)
            failures = self._backoff.count(failures, time.monotonic() - began)
            await self.process.fail(why, at_once=wedged)
            has_served = has_served or ready.done()
            if not ready.done():
                _fail(ready, StartFailed(why))
            if not has_served and not persistent:
                self._task = None
                return
            delay = self._backoff.delay(failures)
            when = f" in {delay:g} s" if delay else ""
            logger.error("%s is started again%s: %s", self.name, when, why)
            await asyncio.sleep(delay)
            self.restarts += 1

    async def _serve(self, ready: asyncio.Future[None]) -> tuple[str, bool]:
        """Start it and wait for its end: why it ended, and whether it was wedged."""
        try:
            await self.process.start()
        except ProcessError as error:
            return str(error), False
        if not ready.done():
            ready.set_result(None)
        if self.restarts:
            logger.warning("%s serves again", self.name)
        async with _running(self.process.ended()) as ended, _running(self._dead()) as wedged:
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
            try:
                self.process.log.rotate()
            except OSError as error:
                logger.warning("%s cannot be rotated: %s", self.process.spec.log, error.strerror)


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, str]) -> AsyncIterator[asyncio.Task[str]]:
    """A task that is cancelled when the block ends."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        # Raises only if who leaves the block is cancelled: that must not get lost.
        await asyncio.wait({task})


def _fail(ready: asyncio.Future[None], error: StartFailed) -> None:
    ready.set_exception(error)
    # Mark it as retrieved: without this the event loop logs an exception that nobody awaited.
    ready.exception()


async def _unknown() -> Seen:
    return Seen()
