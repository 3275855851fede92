"""Follows the supervisor's news of models, and reports the requests that run.

The other end is serve/subscribers.py; the lines are those of enginix.supervision.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from enginix import supervision
from enginix.errors import BackendUnavailable, EnginixError
from enginix.gateway.models.lineup import serve, serve_only
from enginix.gateway.models.model import Model
from enginix.gateway.models.model_state import ModelState
from enginix.gateway.supervision.client import LONGEST_LINE
from enginix.supervision import Availability, ModelNews, News, Report, replica_key

if TYPE_CHECKING:
    from enginix.gateway.models.state import Gateway

logger = logging.getLogger(__name__)

REPORT_SECONDS = 0.1
RECONNECT_SECONDS = 0.5
# How much later than the supervisor's answer its news may arrive.
NEWS_SECONDS = 30.0
FIRST_NEWS_SECONDS = 5.0

# A model's row -> what opens it and its adapters in the event loop. It reads files.
Opener = Callable[[Mapping[str, Any]], Callable[[], Sequence[Model]]]


class SupervisorSubscription:
    def __init__(self, gateway: Gateway, opener: Opener | None) -> None:
        self._gateway = gateway
        self._opener = opener
        self._seen = -1
        self._revisions: dict[str, int] = {}
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Connect again whenever the connection breaks; never returns."""
        while True:
            with suppress(OSError, ValueError):
                await self._follow()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def seen(self, generation: int, seconds: float = NEWS_SECONDS) -> None:
        """Return once this gateway has applied the news of that generation."""
        try:
            async with asyncio.timeout(seconds):
                while self._seen < generation:
                    await self._news.wait()
        except TimeoutError:
            raise BackendUnavailable("this gateway has lost its supervisor; ask again") from None

    async def _follow(self) -> None:
        socket = self._gateway.servers.require()
        reader, writer = await asyncio.open_unix_connection(socket, limit=LONGEST_LINE)
        reporting = asyncio.create_task(self._report(writer))
        try:
            writer.write(supervision.FOLLOW)
            while line := await reader.readline():
                await self._apply(supervision.decode_news(line))
        finally:
            # Close first: the wait below may be cancelled.
            writer.close()
            reporting.cancel()
            await asyncio.wait({reporting})

    async def _apply(self, news: News) -> None:
        for model in news.models:
            failure = await self._open(model, self._opener) if self._opener else None
            # Its adapters are where it is.
            for state in self._served_by(model.name):
                state.presence = Availability.CLOSED if failure else model.availability
                state.reason = failure or model.reason
                await state.rest(model.resting)
        if self._opener:
            serve_only(self._gateway, [model.name for model in news.models])
        self._seen = news.generation
        self._news.set()
        self._news = asyncio.Event()

    async def _open(self, model: ModelNews, opener: Opener) -> str | None:
        """Serve the model as the news have it; why that is not possible, if it is not."""
        is_here = model.name in self._gateway.states
        if is_here and self._revisions.get(model.name, 0) == model.revision:
            return None
        try:
            # It reads a tokenizer, so run it in a thread: streams continue meanwhile.
            open_models = await asyncio.to_thread(opener, model.row)
        except EnginixError as error:
            logger.error("%s cannot be served here: %s", model.name, error)
            return f"{model.name} cannot be served: {error}"
        self._revisions[model.name] = model.revision
        serve(self._gateway, open_models())
        return None

    def _served_by(self, name: str) -> list[ModelState]:
        states = self._gateway.states.values()
        return [state for state in states if state.model.served_by == name]

    async def _report(self, writer: asyncio.StreamWriter) -> None:
        """Report the running requests whenever they change."""
        last = None
        while True:
            report = Report(self._seen, self._requests())
            if report != last:
                writer.write(supervision.encode(report))
                last = report
            await asyncio.sleep(REPORT_SECONDS)

    def _requests(self) -> dict[str, tuple[int, int]]:
        counts: dict[str, tuple[int, int]] = {}
        for state in self._gateway.states.values():
            name = state.model.served_by
            load = {name: (state.busy, state.started)}
            for replica in state.model.backend.replicas:
                load[replica_key(name, replica.address)] = (replica.running, replica.started)
            for key, (running, started) in load.items():
                # A model and its adapters share its servers.
                before = counts.get(key, (0, 0))
                counts[key] = (before[0] + running, before[1] + started)
        return counts


@asynccontextmanager
async def following(gateway: Gateway, opener: Opener | None) -> AsyncIterator[None]:
    """Make the gateway follow its supervisor, if it has one, until the block ends."""
    if gateway.settings.supervisor is None:
        yield
        return
    gateway.following = SupervisorSubscription(gateway, opener)
    task = asyncio.create_task(gateway.following.run())
    task.add_done_callback(_log_failure)
    try:
        # Until the first news, every model seems to accept requests.
        with suppress(BackendUnavailable):
            await gateway.following.seen(0, FIRST_NEWS_SECONDS)
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def _log_failure(task: asyncio.Task[None]) -> None:
    """It ends when it is cancelled; anything else is a bug, which must be logged."""
    if not task.cancelled() and (error := task.exception()):
        logger.error("this gateway no longer follows its supervisor", exc_info=error)
