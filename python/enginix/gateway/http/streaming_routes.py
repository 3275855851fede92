"""Bypasses the router for the streaming routes.

FastAPI wraps a route in a dozen coroutines that live as long as the stream: 10 KB per open stream
and 0.2 ms before its first token. These routes read and check their requests themselves; FastAPI
still describes them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from enginix.errors import EnginixError

Handler = Callable[[Request], Awaitable[Response]]


class Route(NamedTuple):
    """What the metrics need of a route."""

    path: str


class StreamingRoutes:
    """`handlers` by the path that they answer POST requests on."""

    def __init__(
        self,
        app: ASGIApp,
        handlers: Mapping[str, Handler],
        failed: Callable[[Request, Exception], Awaitable[Response]],
    ) -> None:
        self._app = app
        self._handlers = handlers
        self._failed = failed

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        handler = self._handlers.get(scope["path"]) if scope["type"] == "http" else None
        if handler is None or scope["method"] != "POST":
            return self._app(scope, receive, send)
        scope["route"] = Route(scope["path"])
        return self._answer(handler, scope, receive, send)

    async def _answer(self, handler: Handler, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await handler(Request(scope, receive))
            # Our responses fail before their first byte or not at all.
            await response(scope, receive, send)
        except (EnginixError, ClientDisconnect) as error:
            response = await self._failed(Request(scope, receive), error)
            await response(scope, receive, send)
