"""Passes a request to a server that speaks the dialect itself, and its bytes back as they come.

Only the model's name is changed, both ways. What the server has already separated, reasoning and
tool calls, stays as it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from enginix.backends.openai.call_repair import StreamedCalls, mended_document
from enginix.backends.openai.connection import Connection
from enginix.backends.openai.negotiate import drop_reasoning, negotiated
from enginix.backends.openai.rename import Rename
from enginix.backends.openai.sse import EventReader
from enginix.backends.openai.usage import usage_in
from enginix.errors import BackendUnavailable, EnginixError, RequestError
from enginix.gateway.http.body import forget_request
from enginix.gateway.http.disconnect import unless_client_leaves
from enginix.gateway.http.errors import failure_of
from enginix.gateway.http.scope import record_in
from enginix.gateway.http.sse import STILL_WAITING, Opening
from enginix.gateway.http.writing import Write, direct_body, writer
from enginix.gateway.models.record import RequestRecord, TokenTimes
from enginix.gateway.models.state import Gateway
from enginix.gateway.passthrough.adapt import CHAT, Passthrough
from enginix.gateway.passthrough.dialect import error_event, is_terminal

# The limit of a whole reply, as opposed to a stream.
MAX_RESPONSE_BYTES = 64 << 20


class PassthroughResponse(Response):
    """Asks the server while it is being sent; a client that leaves ends that request, too.

    `fallback` makes the reply when the server turns out not to have the route; `error_stream` the
    stream that says why there is none, where a status would not do. `check` raises EnginixError
    for a whole reply that is not to be passed on.
    """

    def __init__(
        self,
        gateway: Gateway,
        question: Passthrough,
        *,
        streams: bool,
        fallback: Callable[[], Awaitable[Response]] | None = None,
        error_stream: Callable[[EnginixError], bytes | None] | None = None,
        check: Callable[[bytes], None] | None = None,
    ) -> None:
        super().__init__()
        self._gateway = gateway
        self._body = question.body
        self._model = question.model
        self._path = question.path
        self._streams = streams
        self._fallback = fallback
        self._error_stream = error_stream
        self._check = check
        self._opening = Opening(gateway.settings.load.keep_awake)
        self._falls_back = False
        self._last = b""
        """The last events, not yet sent."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = record_in(scope)
        stayed = await unless_client_leaves(receive, self._answer(scope, send, record))
        record.client_left = not stayed
        if stayed and self._falls_back and self._fallback is not None:
            response = await self._fallback()
            await response(scope, receive, send)

    async def _answer(self, scope: Scope, send: Send, record: RequestRecord) -> None:
        events = EventReader()
        record.while_waiting = partial(self._opening.in_line, send) if self._streams else None
        try:
            async with self._gateway.at_work(self._model, record) as (times,):
                request = self._request(record)
                entered: Awaitable[Connection | None] = request.__aenter__()
                if self._streams:
                    # Until the response begins, a stream gets a comment now and then.
                    entered = self._opening.wait(entered, send, STILL_WAITING)
                response = await entered
                try:
                    if response is None:
                        self._falls_back = True
                    elif self._streams:
                        # An open stream keeps no copy of its request.
                        self._body, self._error_stream = {}, None
                        forget_request(scope)
                        await self._stream(response, events, send, scope, record, times)
                    else:
                        await self._whole(response, send, record, times)
                finally:
                    await request.__aexit__(None, None, None)
        except EnginixError as error:
            record.error = type(error).__name__
            if self._opening.started:
                last = self._last + error_event(failure_of(error), self._path, events.last)
            else:
                stream = self._error_stream(error) if self._error_stream else None
                if stream is None:
                    raise
                await self._opening.begin(send)
                last = stream
            await send({"type": "http.response.body", "body": last, "more_body": False})

    def _request(self, record: RequestRecord) -> AbstractAsyncContextManager[Connection | None]:
        return negotiated(
            self._model.backend,
            self._path,
            self._body,
            record.origin,
            (drop_reasoning,),
            streams=self._streams,
            has_fallback=lambda: self._fallback is not None and not self._opening.started,
        )

    async def _whole(
        self,
        response: Connection,
        send: Send,
        record: RequestRecord,
        times: TokenTimes,
    ) -> None:
        body = await response.read_some(MAX_RESPONSE_BYTES + 1)
        if len(body) > MAX_RESPONSE_BYTES:
            raise self._too_long()
        # Also of a model that generates no tokens.
        times.pulse.last_token = times.clock()
        rename = Rename(self._model.name)
        # The rest of embeddings is only numbers, megabytes of them, and other streams would wait.
        named = without_data(body) if self._model.task == "embed" else body
        note_usage(named, record, times)
        if self._check is not None:
            self._check(body)
        rename.feed(named)
        body = rename.feed(body)
        if self._path == CHAT:
            body = mended_document(body)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        self._opening.started = True
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    def _too_long(self) -> EnginixError:
        size = f"more than {MAX_RESPONSE_BYTES >> 20} MB as one answer"
        if self._model.task == "embed":
            return RequestError(
                f"input: its embeddings are {size}; send fewer texts, or encoding_format base64",
                param="input",
            )
        return BackendUnavailable(f"{self._model.backend.name} sent {size}")

    async def _stream(
        self,
        response: Connection,
        events: EventReader,
        send: Send,
        scope: Scope,
        record: RequestRecord,
        times: TokenTimes,
    ) -> None:
        await self._opening.begin(send)
        await self._pipe(response, events, writer(direct_body(scope), send), times)
        note_usage(events.first + events.last, record, times)
        if events.is_cut or not is_terminal(events.last, self._path):
            raise BackendUnavailable(
                f"{self._model.backend.name} ended its answer without saying that it was over"
            )
        await send({"type": "http.response.body", "body": self._last, "more_body": False})

    async def _pipe(
        self, response: Connection, events: EventReader, write: Write, times: TokenTimes
    ) -> None:
        feed, rewrite, arrived = events.feed, self._rewriter(), times.arrived

        def pass_on(chunk: bytes) -> Any:
            whole = feed(chunk)
            if not whole:
                return None
            arrived(whole.count(b"\n\n") or 1)
            if response.complete:
                # It leaves with the end of the stream.
                self._last += rewrite(whole)
                return None
            return write(rewrite(whole))

        await response.pipe(pass_on)
        if rest := events.finish():
            self._last += rewrite(rest)

    def _rewriter(self) -> Callable[[bytes], bytes]:
        """The function that rewrites whole events on their way."""
        rename = Rename(self._model.name).feed
        if self._path != CHAT:
            return rename
        mend = StreamedCalls().feed
        return lambda events: mend(rename(events))


def without_data(body: bytes) -> bytes:
    """A document without what is in its list `data`; the same if it has none."""
    start, end = body.find(b'"data"'), body.rfind(b"]")
    return body[:start] + b'"data":[]' + body[end + 1 :] if 0 <= start < end else body


def note_usage(body: bytes, record: RequestRecord, times: TokenTimes) -> None:
    """`body`: a whole reply, or the last events of a stream whose events were counted."""
    if record.trace is not None:
        record.trace.answered(body)
    usage = usage_in(body)
    if usage is None:
        return
    record.prompt_tokens = usage.prompt or 0
    record.cached_tokens = usage.cached
    if usage.completion is None:
        return
    missing = usage.completion - times.total
    if missing > 0:
        times.arrived(missing)
    elif -missing <= times.tokens:
        # Not every event was a token: the first and the last ones never are.
        times.total += missing
        times.tokens += missing
