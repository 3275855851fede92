"""Fetches a file by concurrent ranges, and resumes where a connection broke.

A request for a chunk starts after its last received byte. If a server ignores ranges, the file is
read from the start and the bytes already received are skipped.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from enginix.checkpoint.partial import PartialFile
from enginix.checkpoint.rate_limit import SharedWait, read_limit, retry_after
from enginix.errors import DownloadError, HubUnreachable

CHUNK_SIZE = 64 * 1024 * 1024
MAX_FAILURES = 10
MAX_PAUSE = 30.0


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of the hub, with the size and hash to check it by."""

    name: str
    size: int
    url: str
    sha256: str | None = None
    """For files in Git LFS: the weights."""
    git_oid: str | None = None
    """Git's own hash, for all other files."""


@dataclass(frozen=True, slots=True)
class Received:
    name: str
    count: int


@dataclass(frozen=True, slots=True)
class Retrying:
    name: str
    why: str
    pause: float
    limited: bool = False
    """Not a failure: the hub refuses all requests until the pause is over."""


class Broken(Exception):
    """A failed request that can be retried."""

    def __init__(self, why: str, pause: float | None = None, *, limited: bool = False) -> None:
        super().__init__(why)
        self.pause = pause
        self.limited = limited


class NoConnection(Broken):
    pass


class RangesIgnored(Exception):
    """The server ignores ranges and sends the whole file."""


class Transfer:
    """Fetches files over at most `connections` connections; `report` gets the events."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        report: Callable[[Received | Retrying], None],
        *,
        connections: int,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._report = report
        self._connections = asyncio.Semaphore(connections)
        self._pause = pause
        self._limit = SharedWait(pause)

    async def fetch(self, remote: RemoteFile, partial: PartialFile) -> None:
        """Fetch every missing byte; DownloadError if the server refuses."""
        try:
            async with first_error(), asyncio.TaskGroup() as tasks:
                for chunk in partial.chunks:
                    tasks.create_task(self._fetch_chunk(remote, partial, chunk))
        except RangesIgnored:
            await self._retrying(remote, partial, lambda: self._receive_all(remote, partial))

    async def _fetch_chunk(self, remote: RemoteFile, partial: PartialFile, chunk: int) -> None:
        await self._retrying(remote, partial, lambda: self._receive(remote, partial, chunk))

    async def _retrying(
        self, remote: RemoteFile, partial: PartialFile, receive: Callable[[], Awaitable[bool]]
    ) -> None:
        """Call `receive` until nothing is missing; give up after failures without progress."""
        failures = 0
        while True:
            before = partial.received
            try:
                async with self._connections:
                    await self._limit.passed()
                    if await receive():
                        return
                raise Broken("the connection ended early")
            except Broken as error:
                # Any byte of any chunk since then is progress: the server works.
                failures = 0 if partial.received > before else failures + 1
                if failures > MAX_FAILURES:
                    kind = HubUnreachable if isinstance(error, NoConnection) else DownloadError
                    raise kind(
                        f"{remote.name} could not be fetched: {error}, {failures} times in a row; "
                        "run the same command again later, it goes on where it stopped"
                    ) from error
                await self._wait(remote, error, failures)

    async def _wait(self, remote: RemoteFile, error: Broken, failures: int) -> None:
        seconds = error.pause or min(2.0**failures / 2, MAX_PAUSE)
        if not (error.limited and self._limit.is_on):
            self._report(Retrying(remote.name, str(error), seconds, error.limited))
        await (self._limit.wait if error.limited else self._pause)(seconds)

    async def _receive(self, remote: RemoteFile, partial: PartialFile, chunk: int) -> bool:
        """One request for a chunk's missing bytes; true if the chunk is complete."""
        start, stop = partial.missing(chunk)
        if start == stop:
            return True
        wanted = {"Range": f"bytes={start}-{stop - 1}"}
        async with self._response(remote, wanted) as response:
            if response.status_code == httpx.codes.PARTIAL_CONTENT:
                _check_range(remote, response, start)
                position = start
            elif len(partial.chunks) > 1:
                raise RangesIgnored
            else:
                position = 0
            await self._keep(remote, partial, response, position, stop)
        start, stop = partial.missing(chunk)
        return start == stop

    async def _receive_all(self, remote: RemoteFile, partial: PartialFile) -> bool:
        async with self._response(remote, {}) as response:
            await self._keep(remote, partial, response, 0, remote.size)
        return partial.received == remote.size

    async def _keep(
        self,
        remote: RemoteFile,
        partial: PartialFile,
        response: httpx.Response,
        position: int,
        stop: int,
    ) -> None:
        try:
            async for data in response.aiter_raw():
                if new := partial.accept(position, data):
                    self._report(Received(remote.name, new))
                position += len(data)
                # Not at `stop`: a body read to its end leaves a reusable connection.
                if position > stop:
                    return
        except httpx.TransportError as error:
            raise _broken(error) from error

    @asynccontextmanager
    async def _response(
        self, remote: RemoteFile, headers: dict[str, str]
    ) -> AsyncIterator[httpx.Response]:
        try:
            async with self._client.stream("GET", remote.url, headers=headers) as response:
                _check_status(remote, response)
                yield response
        except httpx.TransportError as error:
            raise _broken(error) from error
        except (httpx.InvalidURL, httpx.TooManyRedirects) as error:
            raise DownloadError(f"{remote.name}: the hub's redirects failed: {error}") from error


def _check_status(remote: RemoteFile, response: httpx.Response) -> None:
    status = response.status_code
    if status in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
        return
    if status == httpx.codes.TOO_MANY_REQUESTS:
        limit = read_limit(response.headers)
        raise Broken(str(limit), limit.pause, limited=True)
    if status == httpx.codes.REQUEST_TIMEOUT or status >= 500:
        raise Broken(f"the server answered {status}", retry_after(response.headers))
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise DownloadError(
            f"{remote.name} cannot be fetched ({status}): the repository is gated or private; "
            "accept its terms on its page, then pass a token of that account in HF_TOKEN"
        )
    raise DownloadError(f"{remote.name} could not be fetched: the server answered {status}")


def _check_range(remote: RemoteFile, response: httpx.Response, start: int) -> None:
    stated = response.headers.get("Content-Range", "")
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", stated)
    if not found or int(found[1]) != start or found[2] not in ("*", str(remote.size)):
        raise Broken(f"requested bytes from {start} of {remote.size}, got {stated!r}")


def _broken(error: httpx.TransportError) -> Broken:
    match error:
        case httpx.ConnectTimeout() | httpx.ConnectError():
            return NoConnection(f"no connection ({error})")
        case httpx.TimeoutException():
            return Broken("the server went silent")
        case _:
            return Broken("the connection broke")


@asynccontextmanager
async def first_error() -> AsyncIterator[None]:
    """Around a TaskGroup: raise the first task's error instead of the group."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from error.__cause__
