"""What named keys have used of which model: kept in files of lines that only grow, then rotate.

Every process adds a line per key and model once a minute, if there was anything. A line has counts
and names, never a key or a text. The directory holds at most FILES times FILE_BYTES.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import orjson

from enginix.gateway.models.record import RequestRecord

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 60.0
FILES = 8
FILE_BYTES = 8 << 20


@dataclass(slots=True)
class Used:
    requests: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, other: Used) -> None:
        self.requests += other.requests
        self.failed += other.failed
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens


def used_by(record: RequestRecord) -> Used:
    """By one request that has ended."""
    failed = record.client_left or record.status >= 400 or record.error is not None
    # A request that was refused, or left while it waited, has used nothing.
    prompt = 0 if record.queued is None else record.prompt_tokens
    return Used(1, int(failed), prompt, record.completion_tokens)


Usage = dict[tuple[str, str], Used]
"""By key and model."""


class UsageLog:
    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._clock = clock
        self._unwritten: Usage = {}

    def note(self, key: str, model: str, used: Used) -> None:
        self._unwritten.setdefault((key, model), Used()).add(used)

    def write(self) -> None:
        """Write what was noted since; what cannot be written is kept for the next time."""
        unwritten, self._unwritten = self._unwritten, {}
        if not unwritten:
            return
        moment = datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        rows = (
            {"time": moment, "key": key, "model": model, **asdict(used)}
            for (key, model), used in unwritten.items()
        )
        try:
            _append(self._directory, b"".join(orjson.dumps(row) + b"\n" for row in rows))
        except OSError as error:
            logger.warning("usage cannot be written and is kept in memory: %s", error)
            for (key, model), used in unwritten.items():
                self.note(key, model, used)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Write once a minute, and when the block ends."""
        task = asyncio.create_task(self._write_on())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            self.write()

    async def _write_on(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            await asyncio.to_thread(self.write)


def usage_directory(home: Path) -> Path:
    return home / "usage"


def usage_files(directory: Path) -> list[Path]:
    """All that there can be, the oldest first."""
    older = [directory / f"usage.{number}.jsonl" for number in range(FILES - 1, 0, -1)]
    return [*older, directory / "usage.jsonl"]


def read_usage(directory: Path, since: datetime | None = None) -> tuple[Usage, datetime | None]:
    """The sums since then, and when the oldest line in them was written."""
    usage: Usage = {}
    oldest: datetime | None = None
    for path in usage_files(directory):
        try:
            lines = path.read_bytes().splitlines()
        except FileNotFoundError:
            continue
        for line in lines:
            if (row := _row(line)) is None or (since is not None and row[0] < since):
                continue
            moment, place, used = row
            oldest = moment if oldest is None else min(oldest, moment)
            usage.setdefault(place, Used()).add(used)
    return usage, oldest


def _row(line: bytes) -> tuple[datetime, tuple[str, str], Used] | None:
    """None for a line that a full disk has cut."""
    try:
        fields = orjson.loads(line)
        moment = datetime.fromisoformat(fields.pop("time"))
        return moment, (str(fields.pop("key")), str(fields.pop("model"))), Used(**fields)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _append(directory: Path, lines: bytes) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = usage_files(directory)
    flags = os.O_CREAT | os.O_CLOEXEC
    # Another process may write or rotate at the same time.
    lock = os.open(directory / "lock", os.O_RDWR | flags, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if files[-1].exists() and files[-1].stat().st_size + len(lines) > FILE_BYTES:
            for older, newer in pairwise(files):
                if newer.exists():
                    newer.replace(older)
        descriptor = os.open(files[-1], os.O_WRONLY | os.O_APPEND | flags, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(lines)
    finally:
        os.close(lock)
