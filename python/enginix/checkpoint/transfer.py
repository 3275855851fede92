"""Fetches one file by ranges, several at a time, and goes on where a connection broke.

A piece is asked for from the byte after the last it got. A server that ignores ranges is read from
its beginning, and what is already there is passed over.
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

PIECE_SIZE = 64 * 1024 * 1024
MAX_FAILURES = 10
MAX_PAUSE = 30.0


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of the hub, and how to know that it came whole."""

    name: str
    size: int
    url: str
    sha256: str | None = None
    """Of files in Git LFS: the weights."""
    git_oid: str | None = None
    """Git's own hash, of all other files."""


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
    """Nothing is wrong: the hub lets no request through until the pause is over."""


class Broken(Exception):
    """A request that may do better the next time."""

    def __init__(self, why: str, pause: float | None = None, *, limited: bool = False) -> None:
        super().__init__(why)
        self.pause = pause
        self.limited = limited


class NoConnection(Broken):
    pass


class RangesIgnored(Exception):
    """The server sends the whole file, whatever part is asked for."""


class Transfer:
    """Fetches files over at most `connections` connections; `said` hears what happens."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        said: Callable[[Received | Retrying], None],
        *,
        connections: int,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._said = said
        self._connections = asyncio.Semaphore(connections)
        self._pause = pause
        self._limit = SharedWait(pause)

    async def fetch(self, remote: RemoteFile, partial: PartialFile) -> None:
        """Until every byte is there; DownloadError when the server will not give them."""
        try:
            async with first_error(), asyncio.TaskGroup() as tasks:
                for piece in partial.pieces:
                    tasks.create_task(self._fetch_piece(remote, partial, piece))
        except RangesIgnored:
            await self._retrying(remote, partial, lambda: self._receive_all(remote, partial))

    async def _fetch_piece(self, remote: RemoteFile, partial: PartialFile, piece: int) -> None:
        await self._retrying(remote, partial, lambda: self._receive(remote, partial, piece))

    async def _retrying(
        self, remote: RemoteFile, partial: PartialFile, receive: Callable[[], Awaitable[bool]]
    ) -> None:
        """Call `receive` until it says that nothing is missing; give up when nothing moves."""
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
                # Any byte since then is progress, by whichever piece: the server is alive.
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
            self._said(Retrying(remote.name, str(error), seconds, error.limited))
        await (self._limit.wait if error.limited else self._pause)(seconds)

    async def _receive(self, remote: RemoteFile, partial: PartialFile, piece: int) -> bool:
        """One request for what a piece lacks; true when it lacks nothing more."""
        start, stop = partial.missing(piece)
        if start == stop:
            return True
        wanted = {"Range": f"bytes={start}-{stop - 1}"}
        async with self._response(remote, wanted) as response:
            if response.status_code == httpx.codes.PARTIAL_CONTENT:
                _check_range(remote, response, start)
                position = start
            elif len(partial.pieces) > 1:
                raise RangesIgnored
            else:
                position = 0
            await self._keep(remote, partial, response, position, stop)
        start, stop = partial.missing(piece)
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
                    self._said(Received(remote.name, new))
                position += len(data)
                # Not at `stop`: a body that is read to its end leaves a connection to use again.
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
            raise DownloadError(f"{remote.name}: the hub led nowhere: {error}") from error


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
            f"{remote.name} may not be fetched ({status}): the repository is gated or private; "
            "accept its terms on its page, then pass a token of that account in HF_TOKEN"
        )
    raise DownloadError(f"{remote.name} could not be fetched: the server answered {status}")


def _check_range(remote: RemoteFile, response: httpx.Response, start: int) -> None:
    stated = response.headers.get("Content-Range", "")
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", stated)
    if not found or int(found[1]) != start or found[2] not in ("*", str(remote.size)):
        raise Broken(f"asked for bytes from {start} of {remote.size}, got {stated!r}")


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
    """Around a TaskGroup: raise what one task raised, not the group, for there is one message."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from error.__cause__
