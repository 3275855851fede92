"""Loads a model on demand before its request is answered; a stream gets comments meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from enginix.errors import EnginixError
from enginix.gateway.http.body import read_document
from enginix.gateway.http.disconnect import unless_client_leaves
from enginix.gateway.http.errors import failure_of
from enginix.gateway.http.scope import gateway_of, models_of, record_in
from enginix.gateway.http.sse import Opening
from enginix.gateway.models.model_state import ModelState
from enginix.gateway.models.state import Gateway
from enginix.gateway.passthrough.dialect import error_event
from enginix.supervision import Availability

Handler = Callable[[Request], Awaitable[Response]]


def when_loaded(handler: Handler, task: str = "generate") -> Handler:
    """`handler`, called once the model that the body names is loaded, if it does `task`."""

    async def loaded_first(request: Request) -> Response:
        gateway = gateway_of(request)
        if all(state.presence != Availability.ON_DEMAND for state in gateway.states.values()):
            return await handler(request)
        state, streams = await _wanted(gateway, request, task)
        if state is None or state.presence != Availability.ON_DEMAND:
            return await handler(request)
        return LoadedFirst(gateway, state, request, handler, streams=streams)

    return loaded_first


async def _wanted(gateway: Gateway, request: Request, task: str) -> tuple[ModelState | None, bool]:
    """None for an invalid request, which the handler refuses."""
    try:
        asked = await read_document(request)
        name = asked.get("model", asked.get("modelId"))
        model = models_of(request).resolve(name, asked.get("engine"), task=task)
        state = gateway.states[model.name]
    except (AttributeError, TypeError, EnginixError):
        return None, False
    streams = asked.get("stream", request.url.path.endswith("/stream"))
    return state, streams is True


class LoadedFirst(Response):
    """Waits for the model, then sends the handler's response."""

    def __init__(
        self,
        gateway: Gateway,
        state: ModelState,
        request: Request,
        handler: Handler,
        *,
        streams: bool,
    ) -> None:
        super().__init__()
        self._gateway = gateway
        self._state = state
        self._request = request
        self._handler = handler
        self._opening = Opening(gateway.settings.load.keep_awake if streams else None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = record_in(scope)
        record.model = self._state.model.name
        stayed = await unless_client_leaves(receive, self._answer(scope, send))
        record.client_left = record.client_left or not stayed

    async def _answer(self, scope: Scope, send: Send) -> None:
        try:
            loading, comment = self._gateway.loaded(self._state, record_in(scope)), self._comment()
            await self._opening.wait(loading, send, comment)
            record_in(scope).stage("prepare")
            response = await self._handler(self._request)
            await response(scope, _never, Continued(send) if self._opening.started else send)
        except EnginixError as error:
            if not self._opening.started:
                raise
            record_in(scope).error = type(error).__name__
            await _send_last(send, error_event(failure_of(error), scope["path"], b""))

    def _comment(self) -> bytes:
        return f": {self._state.model.name} is being loaded\n\n".encode()


class Continued:
    """Continues a stream whose headers are sent; an error response becomes its last event."""

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
    """A handler that waits for the client to leave is cancelled when it does."""
    never: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    return await never
