"""Intercepts every HTTP client of the tests, including the SDKs', and checks the answers.

Transports are wrapped where httpx makes them, so that no test has to ask for it. What is wrong is
kept until the test's end: raised in the middle of a client's reading it would be taken for a
broken connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from tests.oracle.answers import answer_faults

# The ports of gateways that answer everything themselves; others may pass answers on.
OWN_PORTS: set[int] = set()

_found: list[str] = []


def take_faults() -> list[str]:
    """The errors since the last call."""
    found = list(_found)
    _found.clear()
    return found


def check(
    method: str, path: str, status: int, kind: str, body: bytes, *, whole: bool, ours: bool
) -> None:
    """Record one answer's errors."""
    for fault in answer_faults(method, path, status, kind, body, whole=whole, ours=ours):
        _found.append(f"{method} {path}: {fault}")


class Heard:
    """One answer as it is read."""

    def __init__(self, request: Any, response: Any) -> None:
        self._request = request
        self._response = response
        self._body: list[bytes] = []
        self._open = True

    def add(self, chunk: bytes) -> None:
        self._body.append(chunk)

    def end(self, *, whole: bool) -> None:
        if not self._open:
            return
        self._open = False
        check(
            self._request.method,
            self._request.url.path,
            self._response.status_code,
            self._response.headers.get("content-type", ""),
            b"".join(self._body),
            whole=whole,
            ours=self._request.url.port in OWN_PORTS,
        )


def _streams(library: Any) -> tuple[Any, Any]:
    """That library's streams, recorded while a client reads them."""

    class Stream(library.SyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, stream: Any, heard: Heard) -> None:
            self._stream, self._heard = stream, heard

        def __iter__(self) -> Iterator[bytes]:
            for chunk in self._stream:
                self._heard.add(chunk)
                yield chunk
            self._heard.end(whole=True)

        def close(self) -> None:
            self._heard.end(whole=False)
            self._stream.close()

    class AsyncStream(library.AsyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, stream: Any, heard: Heard) -> None:
            self._stream, self._heard = stream, heard

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for chunk in self._stream:
                self._heard.add(chunk)
                yield chunk
            self._heard.end(whole=True)

        async def aclose(self) -> None:
            self._heard.end(whole=False)
            await self._stream.aclose()

    return Stream, AsyncStream


def _wrap(library: Any) -> None:
    stream, async_stream = _streams(library)
    handle = library.HTTPTransport.handle_request
    handle_async = library.AsyncHTTPTransport.handle_async_request

    def handle_request(transport: Any, request: Any) -> Any:
        response = handle(transport, request)
        if _is_of_interest(request, response):
            response.stream = stream(response.stream, Heard(request, response))
        return response

    async def handle_async_request(transport: Any, request: Any) -> Any:
        response = await handle_async(transport, request)
        if _is_of_interest(request, response):
            response.stream = async_stream(response.stream, Heard(request, response))
        return response

    library.HTTPTransport.handle_request = handle_request
    library.AsyncHTTPTransport.handle_async_request = handle_async_request


def _is_of_interest(request: Any, response: Any) -> bool:
    return request.url.path.startswith("/v1/") and "content-encoding" not in response.headers


def listen() -> None:
    """Call once, before the first client is created."""
    # The second is what newer SDKs bring; neither SDK is packaged everywhere.
    for name in ("httpx", "httpx2"):
        if find_spec(name):
            _wrap(import_module(name))
