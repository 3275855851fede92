"""Passes a request on to a server that speaks the dialect itself, and its bytes back as they come.

Only the model's name is changed, both ways. What the server has already told apart, reasoning and
tool calls, stays as it is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from enginix.backends.http1_connection import Connection
from enginix.backends.openai import has_no_route, refusal
from enginix.errors import BackendUnavailable, EnginixError, GenerationFailed
from enginix.gateway.http.disconnect import unless_client_leaves
from enginix.gateway.http.errors import failure_of
from enginix.gateway.http.scope import record_in
from enginix.gateway.http.sse import STILL_WAITING, Opening
from enginix.gateway.models.record import RequestRecord, TokenTimes
from enginix.gateway.models.registry import RelayedModel
from enginix.gateway.models.state import Gateway
from enginix.gateway.relay.calls import StreamedCalls, mended_document
from enginix.gateway.relay.dialect import error_event
from enginix.gateway.relay.events import Events
from enginix.gateway.relay.rename import Rename
from enginix.gateway.relay.usage import note_usage
from enginix.gateway.upstream.question import REASONING, without_reasoning

CHAT = "/v1/chat/completions"
# A whole answer, not a stream, may be this long.
MAX_RESPONSE_BYTES = 64 << 20


class Relayed(Response):
    """Asks the server while it is being sent; a client that leaves ends that request, too.

    `instead` makes the answer that is given when the server turns out not to have the route, `told`
    the stream that says why there is none, where that is not left to a status.
    """

    def __init__(
        self,
        gateway: Gateway,
        model: RelayedModel,
        path: str,
        body: bytes,
        *,
        streams: bool,
        instead: Callable[[], Awaitable[Response]] | None = None,
        told: Callable[[EnginixError], bytes | None] | None = None,
    ) -> None:
        super().__init__()
        self._told = told
        self._gateway = gateway
        self._model = model
        self._path = path
        self._asked = body
        self._streams = streams
        self._instead = instead
        self._opening = Opening(gateway.settings.load.keep_awake)
        self._next: Callable[[], Awaitable[Response]] | None = None
        """What else may be asked, after a refusal."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = record_in(scope)
        stayed = await unless_client_leaves(receive, self._answer(send, record))
        record.client_left = not stayed
        if stayed and self._next is not None:
            response = await self._next()
            await response(scope, receive, send)

    async def _answer(self, send: Send, record: RequestRecord) -> None:
        events = Events()
        try:
            async with self._gateway.at_work(self._model.name, record) as (times,):
                if self._streams:
                    await self._stream(events, send, record, times)
                else:
                    await self._whole(send, record, times)
        except EnginixError as error:
            record.error = type(error).__name__
            if self._opening.begun:
                last = error_event(failure_of(error), self._path, events.last)
            else:
                told = self._told(error) if self._told else None
                if told is None:
                    raise
                await self._opening.begin(send)
                last = told
            await send({"type": "http.response.body", "body": last, "more_body": False})

    def _request(self, record: RequestRecord) -> AbstractAsyncContextManager[Connection]:
        backend = self._model.backend
        return backend.ask(self._path, self._asked, record.id, streams=self._streams)

    async def _answered(self, answer: Connection) -> bool:
        """Whether it is one, and not the sign to ask otherwise; raises all other refusals."""
        if answer.status == 200:
            return True
        body = await answer.read_error()
        backend = self._model.backend
        if not self._opening.begun:
            if self._instead and has_no_route(self._path, answer.status, body):
                backend.mark_unsupported(self._path)
                self._next = self._instead
                return False
            if answer.status == 400 and REASONING.encode() in body and self._forget_reasoning():
                backend.mark_unsupported(REASONING)
                return False
        raise refusal(backend.name, answer.status, body)

    def _forget_reasoning(self) -> bool:
        """Prepare to ask without it; whether there was any."""
        asked = orjson.loads(self._asked)
        messages = asked.get("messages")
        if not messages or (plain := without_reasoning(messages)) == messages:
            return False
        self._asked = orjson.dumps({**asked, "messages": plain})
        self._next = self._again
        return True

    async def _again(self) -> Response:
        self._next = None
        return self

    async def _whole(self, send: Send, record: RequestRecord, times: TokenTimes) -> None:
        async with self._request(record) as answer:
            if not await self._answered(answer):
                return
            body = await answer.read(MAX_RESPONSE_BYTES)
        note_usage(body, record, times)
        body = Rename(self._model.name).feed(body)
        if self._path == CHAT:
            body = mended_document(body)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        self._opening.begun = True
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _stream(
        self, events: Events, send: Send, record: RequestRecord, times: TokenTimes
    ) -> None:
        name = self._model.backend.name
        async with self._awaited(send, record) as answer:
            if not await self._answered(answer):
                return
            if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                raise GenerationFailed(f"{name} was asked for a stream and sent none")
            await self._opening.begin(send)
            await self._pass_on(answer, events, send, times)
        note_usage(events.last, record, times)
        if not events.ended(self._path):
            raise BackendUnavailable(f"{name} ended its answer without saying that it was over")
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pass_on(
        self, answer: Connection, events: Events, send: Send, times: TokenTimes
    ) -> None:
        feed, rename, arrived = events.feed, self._rewriter(), times.arrived

        def pass_on(piece: bytes) -> Any:
            whole = feed(piece)
            if not whole:
                return None
            arrived(whole.count(b"\n\n") or 1)
            return send({"type": "http.response.body", "body": rename(whole), "more_body": True})

        await answer.pour(pass_on)
        if rest := events.finish():
            await send({"type": "http.response.body", "body": rename(rest), "more_body": True})

    def _rewriter(self) -> Callable[[bytes], bytes]:
        """What is done to whole events on their way."""
        rename = Rename(self._model.name).feed
        if self._path != CHAT:
            return rename
        mend = StreamedCalls().feed
        return lambda events: mend(rename(events))

    @asynccontextmanager
    async def _awaited(self, send: Send, record: RequestRecord) -> AsyncIterator[Connection]:
        """The server's answer; a comment now and then while it does not begin."""
        request = self._request(record)
        answer = await self._opening.wait(request.__aenter__(), send, STILL_WAITING)
        try:
            yield answer
        finally:
            await request.__aexit__(None, None, None)
