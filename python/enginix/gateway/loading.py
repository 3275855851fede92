"""Has a model loaded before a request for it is answered; a stream begins with comments meanwhile.

Only models that are loaded on demand come here; with all of them loaded it costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from enginix.errors import EnginixError
from enginix.gateway.body import read_bytes
from enginix.gateway.disconnect import unless_client_leaves
from enginix.gateway.errors import error_body, failure_of, speaks_anthropic
from enginix.gateway.gateway import Gateway, Lane, Presence
from enginix.gateway.sse import HEADERS
from enginix.gateway.state import gateway_of, record_in

Handler = Callable[[Request], Awaitable[Response]]


def when_loaded(handler: Handler) -> Handler:
    """`handler`, asked once the model of the request's body is loaded."""

    async def loaded_first(request: Request) -> Response:
        gateway = gateway_of(request)
        if all(lane.presence != Presence.ON_DEMAND for lane in gateway.lanes.values()):
            return await handler(request)
        lane, streams = await _wanted(gateway, request)
        if lane is None or lane.presence != Presence.ON_DEMAND:
            return await handler(request)
        return LoadedFirst(gateway, lane, request, handler, streams=streams)

    return loaded_first


async def _wanted(gateway: Gateway, request: Request) -> tuple[Lane | None, bool]:
    """None for what cannot be answered: the handler says why."""
    try:
        asked = orjson.loads(await read_bytes(request))
        name = asked.get("model", asked.get("modelId"))
        lane = gateway.lanes[gateway.models.resolve(name, asked.get("engine")).name]
    except (orjson.JSONDecodeError, AttributeError, TypeError, EnginixError):
        return None, False
    streams = asked.get("stream", request.url.path.endswith("/stream"))
    return lane, streams is True


class LoadedFirst(Response):
    """Waits, and is then whatever the handler answers."""

    def __init__(
        self, gateway: Gateway, lane: Lane, request: Request, handler: Handler, *, streams: bool
    ) -> None:
        super().__init__()
        self._gateway = gateway
        self._lane = lane
        self._request = request
        self._handler = handler
        self._streams = streams
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = record_in(scope)
        record.model = self._lane.model.name
        stayed = await unless_client_leaves(receive, self._answer(scope, send))
        record.client_left = record.client_left or not stayed

    async def _answer(self, scope: Scope, send: Send) -> None:
        try:
            await self._wait(send)
            response = await self._handler(self._request)
            await response(scope, _never, Continued(send) if self._begun else send)
        except EnginixError as error:
            if not self._begun:
                raise
            record_in(scope).error = type(error).__name__
            event = b"event: error\n" if speaks_anthropic(scope["path"]) else b""
            data = error_body(failure_of(error), scope["path"])
            await _send_last(send, event + b"data: " + data + b"\n\n")

    async def _wait(self, send: Send) -> None:
        period = self._gateway.settings.load.keep_awake if self._streams else None
        loading = asyncio.ensure_future(self._gateway.loaded(self._lane))
        comment = f": {self._lane.model.name} is being loaded\n\n".encode()
        try:
            while not (await asyncio.wait({loading}, timeout=period))[0]:
                await self._begin(send)
                await send({"type": "http.response.body", "body": comment, "more_body": True})
            loading.result()
        finally:
            loading.cancel()

    async def _begin(self, send: Send) -> None:
        if not self._begun:
            self._begun = True
            headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
            headers.append((b"content-type", b"text/event-stream; charset=utf-8"))
            await send({"type": "http.response.start", "status": 200, "headers": headers})


class Continued:
    """Sends a stream that has begun already; an answer that is none becomes its last event."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._is_error = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._is_error = message["status"] != 200
        elif self._is_error:
            await _send_last(self._send, b"data: " + message.get("body", b"") + b"\n\n")
        else:
            await self._send(message)


async def _send_last(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _never() -> Message:
    """Who waits for the client to leave is cancelled when it does."""
    never: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    return await never
