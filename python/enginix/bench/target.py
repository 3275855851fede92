"""The measured server: its address, its models, and requests to it."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from enginix.bench.answer import Answer
from enginix.bench.connection import Connection
from enginix.errors import BackendError, BackendUnavailable, UsageError

TIMEOUT_SECONDS = 10.0
# HOST:PORT without a scheme.
BARE = re.compile(r"([^/:]+|\[[^/\]]+\]):\d+(/|$)")


class Target:
    """One server; its connections belong to the event loop they are used in."""

    def __init__(self, url: str, key: str | None = None, *, seconds: float = 600.0) -> None:
        try:
            parts = urlsplit(f"http://{url}" if BARE.match(url) else url)
            port = parts.port
        except ValueError:
            # A wrong port, or half an IPv6 address.
            parts, port = urlsplit(""), 0
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
            raise UsageError(f"{url!r} is not a server's address; expected http://HOST:PORT")
        if key and not (key.isascii() and key.isprintable()):
            raise UsageError("the API key has characters that HTTP headers forbid; is it complete?")
        self.host = parts.hostname
        self._port = port or (443 if parts.scheme == "https" else 80)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        path = parts.path.rstrip("/")
        self._base = path if path.endswith("/v1") else f"{path}/v1"
        self.authority = parts.netloc.rpartition("@")[2]
        self._key = key
        self._seconds = seconds
        self._idle: list[Connection] = []
        self.url = f"{parts.scheme}://{self.authority}{self._base}"

    def models(self) -> list[str]:
        """Their names; raises BackendUnavailable or BackendError if the server cannot list them."""
        answer = self._get(f"{self.url}/models")
        if answer.is_error:
            raise BackendError(
                f"{self.url}/models answered {answer.status_code}: {answer.text[:200]}; "
                "name the model with --model, and the key with OPENAI_API_KEY if it wants one"
            )
        try:
            return [str(model["id"]) for model in answer.json()["data"]]
        except (ValueError, LookupError, TypeError):
            raise BackendError(
                f"{self.url}/models is not a list of models: {answer.text[:80]!r}; expected an "
                "OpenAI-compatible server"
            ) from None

    def facts(self, path: str) -> dict[str, Any]:
        """The JSON object that the server has at `path`; empty if it has none."""
        try:
            answer = self._get(f"{self.url.removesuffix('/v1')}{path}")
            found = answer.json() if answer.is_success else None
        except (BackendUnavailable, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def drafts(self, model: str) -> tuple[int, int] | None:
        """The tokens that were drafted and accepted so far; None if no gateway says it."""
        rows = self.facts("/v1/status").get("models")
        for row in rows if isinstance(rows, list) else ():
            try:
                if model in (row["id"], *row["aliases"]):
                    return row["speculative"]["drafted"], row["speculative"]["accepted"]
            except (LookupError, TypeError):
                continue
        return None

    def _get(self, address: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        try:
            return httpx.get(address, headers=headers, timeout=TIMEOUT_SECONDS, trust_env=False)
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise BackendUnavailable(f"no server answers at {self.url}: {error}") from None

    def message(self, path: str, body: Mapping[str, Any]) -> bytes:
        """A complete request as bytes."""
        content = orjson.dumps(body)
        lines = [
            f"POST {self._base}{path} HTTP/1.1",
            f"Host: {self.authority}",
            "Content-Type: application/json",
            "Accept: text/event-stream",
            f"Content-Length: {len(content)}",
        ]
        if self._key:
            lines.append(f"Authorization: Bearer {self._key}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + content

    async def ask(self, message: bytes) -> Answer:
        """The answer, successful or failed; never raises."""
        answer = Answer()
        try:
            async with asyncio.timeout(self._seconds):
                while idle := self._take_idle():
                    found = await self._request(idle, message)
                    if idle.answered:
                        return found
                    # The server closed it while we wrote, before starting any work.
                return await self._request(await self._connected(), message)
        except TimeoutError:
            answer.failure = f"no complete answer within {self._seconds:g} s"
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) else None
            answer.failure = f"no connection: {why or error}"
        return answer

    async def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    async def _request(self, connection: Connection, message: bytes) -> Answer:
        try:
            return await connection.ask(message)
        finally:
            if connection.reusable:
                self._idle.append(connection)
            else:
                connection.close()

    def _take_idle(self) -> Connection | None:
        """An idle open connection, if there is one."""
        while self._idle:
            if (idle := self._idle.pop()).reusable:
                return idle
        return None

    async def _connected(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            Connection, self.host, self._port, ssl=self._tls
        )
        return connection
