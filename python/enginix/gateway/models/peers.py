"""Lets the worker processes of one gateway share their load and requests, for operators.

Each answers on a socket in the directory that they share for their metrics: a line asks, a line
answers.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import orjson

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 1.0
LONGEST_LINE = 16 << 20


@dataclass(frozen=True, slots=True)
class Traffic:
    """One model's traffic, in one process or in all of them."""

    running: int = 0
    waiting: int = 0
    tokens_per_second: float = 0.0
    first_tokens: list[float] = field(default_factory=list)
    """Seconds to the first token, of recent requests."""

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.running + other.running,
            self.waiting + other.waiting,
            self.tokens_per_second + other.tokens_per_second,
            self.first_tokens + other.first_tokens,
        )

    @property
    def first_token_seconds(self) -> float | None:
        """The median; None without recent requests."""
        return round(median(self.first_tokens), 4) if self.first_tokens else None


@dataclass(frozen=True, slots=True)
class Report:
    """The requests and traffic of one process."""

    requests: list[dict[str, Any]]
    traffic: dict[str, Traffic]
    """By model, and by `replica_key` for the replicas of one that has several."""
    cancelled: int = 0
    """How many requests were ended for this call."""


class Peers:
    """`report` makes this process's own; its argument is the id of a request to end first."""

    def __init__(self, directory: str | None, report: Callable[[str | None], Report]) -> None:
        self._directory = Path(directory) if directory else None
        self._report = report

    async def reports(self, cancel: str | None = None) -> list[Report]:
        """All workers' reports, this one's first, without those that do not answer in time."""
        own = self._report(cancel)
        if self._directory is None:
            return [own]
        others = [path for path in self._directory.glob("peer-*") if path != self._socket]
        found = await asyncio.gather(*(_ask(path, cancel) for path in others))
        return [own, *(report for report in found if report)]

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """Answer the other workers until the block ends."""
        server = await self._listen() if self._directory else None
        try:
            yield
        finally:
            if server:
                server.close()
                self._socket.unlink(missing_ok=True)

    async def _listen(self) -> asyncio.Server | None:
        try:
            return await asyncio.start_unix_server(self._answer, self._socket)
        except OSError as error:
            # As where TMPDIR is longer than a socket's path may be. Requests are served as well.
            logger.warning("status and requests are those of one worker at a time: %s", error)
            return None

    @property
    def _socket(self) -> Path:
        assert self._directory is not None, "one worker alone has no peers"
        return self._directory / f"peer-{os.getpid()}"

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            cancel = orjson.loads(await reader.readline())
            writer.write(orjson.dumps(asdict(self._report(cancel))) + b"\n")
            await writer.drain()
        except (OSError, ValueError):
            # The other worker has ended.
            pass
        finally:
            writer.close()


async def _ask(path: Path, cancel: str | None) -> Report | None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_unix_connection(path, limit=LONGEST_LINE)
            try:
                writer.write(orjson.dumps(cancel) + b"\n")
                fields = orjson.loads(await reader.readline())
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        # It has ended or is frozen; the process that started it replaces it.
        return None
    traffic = {name: Traffic(**each) for name, each in fields.pop("traffic").items()}
    return Report(**fields, traffic=traffic)


def traffic_of(reports: Sequence[Report], model: str) -> Traffic:
    """One model's traffic, in all processes."""
    return sum((each.traffic[model] for each in reports if model in each.traffic), Traffic())
