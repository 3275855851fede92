"""The gateways that follow a supervisor: they get its news, and report what runs.

A model is drained once every gateway has seen that it accepts no more requests, and has none left.
The lines are those of enginix.supervision.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from enginix import supervision
from enginix.supervision import ModelNews, News, Report

# How long an answer waits for gateways that are slow to open a model.
SEEN_SECONDS = 5.0


class Subscribers:
    """Every gateway process that follows."""

    def __init__(self) -> None:
        self._news = News(0, [])
        self._reports: dict[asyncio.StreamWriter, Report] = {}
        self._change = asyncio.Event()

    def __len__(self) -> int:
        return len(self._reports)

    @property
    def generation(self) -> int:
        """Increases with every change of the news."""
        return self._news.generation

    def tell(self, models: list[ModelNews]) -> None:
        """Send the news to all subscribers, and to those who subscribe later."""
        if models == self._news.models:
            return
        self._news = News(self.generation + 1, models)
        for writer in self._reports:
            writer.write(supervision.encode_news(self._news))

    async def follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a gateway's connection until it closes; ValueError for a line that is no report."""
        self._reports[writer] = Report(-1, {})
        writer.write(supervision.encode_news(self._news))
        try:
            while line := await reader.readline():
                self._reports[writer] = supervision.decode(Report, line)
                self._changed()
        finally:
            del self._reports[writer]
            self._changed()

    def running(self, model: str) -> int:
        """How many of its requests run or wait, in all gateways."""
        return sum(report.requests.get(model, (0, 0))[0] for report in self._reports.values())

    def started(self, model: str) -> int:
        """How many have ever started, by the gateways that follow now."""
        return sum(report.requests.get(model, (0, 0))[1] for report in self._reports.values())

    async def drained(self, model: str, seconds: float) -> int:
        """Wait until none of its requests runs; return how many still do after so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                while self.running(model) or not self._all_have_seen():
                    await self._change.wait()
        except TimeoutError:
            return self.running(model)
        return 0

    async def all_seen(self) -> None:
        """Wait until every gateway acts on the latest news, or for SEEN_SECONDS.

        The next request may go to any of them.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(SEEN_SECONDS):
                while not self._all_have_seen():
                    await self._change.wait()

    def _all_have_seen(self) -> bool:
        return all(report.seen >= self.generation for report in self._reports.values())

    def _changed(self) -> None:
        self._change.set()
        self._change = asyncio.Event()
