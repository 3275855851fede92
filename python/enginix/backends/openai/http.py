"""A small HTTP/1.1 client for streams of tokens: connections kept, bytes as they come.

A read costs one step, however many chunks have arrived. Leaving a response before its end closes
the connection, which tells the server to stop generating.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from enginix.backends.openai.connection import Connection
from enginix.errors import BackendUnavailable, SafeToRetry, UsageError

CONNECT_SECONDS = 5.0
MAX_IDLE = 64


class HttpClient:
    """Connects to one server; belongs to the event loop it is used in."""

    def __init__(self, url: str, *, name: str) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            # A wrong port, or half an IPv6 address.
            parts, port = urlsplit(""), 0
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
            raise UsageError(f"{url!r} is not a server's address; expected http://HOST:PORT")
        self.name = name
        self._host = parts.hostname
        self._port = port or (443 if parts.scheme == "https" else 80)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._base = parts.path.rstrip("/")
        self._authority = parts.netloc.rpartition("@")[2]
        self._idle: list[Connection] = []
        self.outages = 0
        """How often the server accepted no connection."""

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        silence: float | None = None,
    ) -> Exchange:
        """The response, once its headers are here. Raises BackendUnavailable.

        Raises BackendTimedOut after `silence` seconds without a byte.
        """
        return Exchange(self, self._head(method, path, len(body), headers or {}) + body, silence)

    async def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def release(self, connection: Connection) -> None:
        """Keep the connection for another request, if it can have one."""
        connection.unwatch()
        if connection.reusable and len(self._idle) < MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    async def send(self, message: bytes, silence: float | None) -> Connection:
        while self._idle:
            kept = self._idle.pop()
            if not kept.reusable:
                kept.close()
                continue
            with suppress(SafeToRetry):
                return await self._send_on(kept, message, silence)
            # The server closed it while we wrote, before any response: a new connection is safe.
            break
        return await self._send_on(await self._connect(), message, silence)

    async def _send_on(
        self, connection: Connection, message: bytes, silence: float | None
    ) -> Connection:
        try:
            if silence is not None:
                connection.watch(silence)
            await connection.send(message)
        except BaseException:
            connection.unwatch()
            connection.close()
            raise
        return connection

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    lambda: Connection(self.name), self._host, self._port, ssl=self._tls
                )
        except TimeoutError:
            self.outages += 1
            raise BackendUnavailable(
                f"{self.name} did not take a connection within {CONNECT_SECONDS:g} s"
            ) from None
        except OSError as error:
            self.outages += 1
            why = error.strerror or str(error)
            raise BackendUnavailable(f"{self.name} cannot be reached: {why}") from None
        return connection

    def _head(self, method: str, path: str, length: int, headers: Mapping[str, str]) -> bytes:
        lines = [
            f"{method} {self._base}{path} HTTP/1.1",
            f"Host: {self._authority}",
            f"Content-Length: {length}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Exchange:
    """A request that is sent, and whose response is read, in its block."""

    __slots__ = ("_client", "_connection", "_message", "_silence")

    def __init__(self, client: HttpClient, message: bytes, silence: float | None) -> None:
        self._client = client
        self._message = message
        self._silence = silence

    async def __aenter__(self) -> Connection:
        # It may be long, and is not kept while the response is read.
        message, self._message = self._message, b""
        self._connection = await self._client.send(message, self._silence)
        return self._connection

    async def __aexit__(self, *error: object) -> None:
        self._client.release(self._connection)
