"""Follows the supervisor: which models there are, and which may be asked; says what runs of them.

The other end, and what the lines look like, is serve/subscribers.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import orjson

from enginix.errors import BackendUnavailable, EnginixError
from enginix.gateway.models.model import Model
from enginix.gateway.supervision.client import LONGEST_LINE

if TYPE_CHECKING:
    from enginix.gateway.models.state import Gateway

logger = logging.getLogger(__name__)

REPORT_SECONDS = 0.1
RECONNECT_SECONDS = 0.5
# How long after the supervisor's answer the news it is about may come.
NEWS_SECONDS = 30.0
FIRST_NEWS_SECONDS = 5.0

# What the supervisor tells of a model -> what opens it in the event loop. It reads files.
Opener = Callable[[dict[str, Any]], Callable[[], Model]]


class SupervisorSubscription:
    def __init__(self, gateway: Gateway, opener: Opener | None) -> None:
        self._gateway = gateway
        self._opener = opener
        self._seen = -1
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Returns never; connects again when the connection breaks."""
        while True:
            with suppress(OSError, ValueError):
                await self._follow()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def seen(self, generation: int, seconds: float = NEWS_SECONDS) -> None:
        """Return once this gateway is as the supervisor was then."""
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
            writer.write(orjson.dumps({"do": "follow"}) + b"\n")
            while line := await reader.readline():
                await self._hear(orjson.loads(line))
        finally:
            # First of all: what is awaited here may be cancelled.
            writer.close()
            reporting.cancel()
            await asyncio.wait({reporting})

    async def _hear(self, news: dict[str, Any]) -> None:
        for row in news["models"]:
            if row["name"] not in self._gateway.lanes and self._opener:
                await self._add(row, self._opener)
            if lane := self._gateway.lanes.get(row["name"]):
                lane.presence, lane.reason = row["presence"], row["reason"]
        self._seen = news["generation"]
        self._news.set()
        self._news = asyncio.Event()

    async def _add(self, row: dict[str, Any], opener: Opener) -> None:
        known = {key: value for key, value in row.items() if key not in ("presence", "reason")}
        try:
            # It reads a tokenizer; running streams go on meanwhile.
            open_model = await asyncio.to_thread(opener, known)
        except EnginixError as error:
            logger.error("%s cannot be served here: %s", row["name"], error)
            return
        self._gateway.add(open_model())

    async def _report(self, writer: asyncio.StreamWriter) -> None:
        """Tell what runs whenever it is otherwise than it was said last."""
        last = b""
        while True:
            lanes = self._gateway.lanes.items()
            requests = {name: (lane.admission.busy, lane.admission.begun) for name, lane in lanes}
            report = orjson.dumps({"seen": self._seen, "requests": requests}) + b"\n"
            if report != last:
                writer.write(report)
                last = report
            await asyncio.sleep(REPORT_SECONDS)


@asynccontextmanager
async def following(gateway: Gateway, opener: Opener | None) -> AsyncIterator[None]:
    """The gateway follows its supervisor, where it has one, until the block ends."""
    if gateway.settings.supervisor is None:
        yield
        return
    gateway.following = SupervisorSubscription(gateway, opener)
    task = asyncio.create_task(gateway.following.run())
    task.add_done_callback(_tell_of_an_end)
    try:
        # Until it is told, every model looks as if it could be asked.
        with suppress(BackendUnavailable):
            await gateway.following.seen(0, FIRST_NEWS_SECONDS)
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def _tell_of_an_end(task: asyncio.Task[None]) -> None:
    """It ends when it is cancelled; anything else is a fault of ours, which must be seen."""
    if not task.cancelled() and (error := task.exception()):
        logger.error("the supervisor is followed no more", exc_info=error)
