"""A reply as server-sent events: bytes out as tokens come in, and an end when the client leaves.

Reads and writes alternate, so that a slow client slows its own generation and nothing piles up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from enginix.chat.pieces import PlainEvents
from enginix.errors import EnginixError
from enginix.gateway.http.body import forget_request
from enginix.gateway.http.disconnect import unless_client_leaves
from enginix.gateway.http.errors import Failure, failure_of
from enginix.gateway.http.scope import record_in
from enginix.gateway.http.tally import UsageTally
from enginix.gateway.http.writing import DirectBody, Write, direct_body, writer
from enginix.gateway.models.model import GenerationRequest
from enginix.gateway.models.record import RequestRecord, TokenTimes
from enginix.gateway.models.state import Gateway
from enginix.generation.reply import Delivery, Finished, PlainBytes, Replies, ReplyEvent, Usage
from enginix.generation.stepping import stepped

logger = logging.getLogger(__name__)

START: Message = {"type": "http.response.start", "status": 200}
STREAM_HEADERS = (
    (b"cache-control", b"no-cache"),
    # Otherwise nginx and its like buffer the whole stream.
    (b"x-accel-buffering", b"no"),
    (b"content-type", b"text/event-stream; charset=utf-8"),
)
STILL_WAITING = b": waiting for the first token\n\n"

Result = TypeVar("Result")


class Opening:
    """A stream's headers, sent once: before its first event or the first comment."""

    __slots__ = ("_period", "started")

    def __init__(self, period: float | None) -> None:
        self.started = False
        self._period = period

    async def begin(self, send: Send) -> None:
        if not self.started:
            self.started = True
            # A copy: middleware adds headers to it.
            await send({**START, "headers": list(STREAM_HEADERS)})

    async def wait(self, work: Awaitable[Result], send: Send, comment: bytes) -> Result:
        """The result of `work`, with a comment now and then."""
        period = self._period
        if period is None:
            return await work
        comments: list[tuple[asyncio.Task[None], asyncio.Lock]] = []
        loop = asyncio.get_running_loop()

        def begin_comments() -> None:
            writing = asyncio.Lock()
            task = loop.create_task(self._comment(send, comment, period, writing))
            comments.append((task, writing))

        # Only once they are needed: most first tokens come before.
        timer = loop.call_later(period, begin_comments)
        try:
            return await work
        finally:
            timer.cancel()
            for task, writing in comments:
                await _end(task, writing)

    async def _comment(
        self, send: Send, comment: bytes, period: float, writing: asyncio.Lock
    ) -> None:
        while True:
            async with writing:
                await self.begin(send)
                await send({"type": "http.response.body", "body": comment, "more_body": True})
            await asyncio.sleep(period)

    @asynccontextmanager
    async def in_line(self, send: Send, ahead: Callable[[], int]) -> AsyncIterator[None]:
        """While the block waits for a slot: a comment now and then, with its place in the line."""
        task = asyncio.create_task(self._tell_place(send, ahead))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _tell_place(self, send: Send, ahead: Callable[[], int]) -> None:
        while self._period is not None:
            await asyncio.sleep(self._period)
            await self.begin(send)
            comment = b": waiting in line, about %d requests before this one\n\n" % ahead()
            await send({"type": "http.response.body", "body": comment, "more_body": True})


async def _end(comments: asyncio.Task[None], writing: asyncio.Lock) -> None:
    try:
        # Not in the middle of a write.
        async with writing:
            pass
    finally:
        comments.cancel()
        await asyncio.gather(comments, return_exceptions=True)


class StreamEncoder(Protocol):
    """One dialect's events as bytes. `encode` is called for every token: it must be cheap."""

    def begin(self) -> bytes: ...

    def encode(self, choice: int, events: Sequence[ReplyEvent]) -> bytes: ...

    def plain(self, choice: int, events: PlainEvents) -> PlainBytes[Any] | None:
        """What `encode` makes of `events` until it is called again; None if it must see them."""

    def end(self, usage: Usage) -> bytes: ...

    def fail(self, failure: Failure) -> bytes:
        """The error as the stream's last event."""


class FailedStream(Response):
    """A stream that begins and ends with an error."""

    def __init__(self, encoder: StreamEncoder, error: EnginixError) -> None:
        super().__init__(encoder.begin() + encoder.fail(failure_of(error)))
        self.raw_headers = [*STREAM_HEADERS]
        self._error = type(error).__name__

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record_in(scope).error = self._error
        await super().__call__(scope, receive, send)


class Delivering:
    """Writes events in the read that brought them, while the client reads."""

    __slots__ = ("body", "encode", "plain")

    def __init__(self, encoder: StreamEncoder) -> None:
        self.encode = encoder.encode
        self.plain = encoder.plain
        self.body: DirectBody | None = None
        """Set once the head has been sent; never at another server than our own."""


class EventStream(Response):
    """Generates while it is being sent.

    `streamed_error`: an error that the dialect's clients expect in the stream, not as a status.
    """

    def __init__(
        self,
        gateway: Gateway,
        request: GenerationRequest,
        encoder: StreamEncoder,
        *,
        streamed_error: type[EnginixError] | None = None,
    ) -> None:
        super().__init__()
        self._streamed_error = streamed_error
        self._gateway = gateway
        self._request = request
        self._encoder = encoder
        self._opening = Opening(gateway.settings.load.keep_awake)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = record_in(scope)
        forget_request(scope)
        stayed = await unless_client_leaves(receive, self._answer(scope, send, record))
        record.client_left = not stayed

    async def _answer(self, scope: Scope, send: Send, record: RequestRecord) -> None:
        record.while_waiting = partial(self._opening.in_line, send)
        try:
            delivering = Delivering(self._encoder)
            async with (
                self._gateway.generating(self._request, record) as times,
                aclosing(generated(self._request, record, times, delivering)) as replies,
            ):
                last = await self._pass_on(replies, scope, send, record, delivering)
        except Exception as error:
            record.error = type(error).__name__
            begin = b""
            if not self._opening.started:
                if self._streamed_error is None or not isinstance(error, self._streamed_error):
                    raise
                await self._opening.begin(send)
                begin = self._encoder.begin()
            if not isinstance(error, EnginixError):
                logger.exception("request %s failed in mid-stream", record.id)
            last = begin + self._encoder.fail(failure_of(error))
        await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _pass_on(
        self,
        replies: Replies,
        scope: Scope,
        send: Send,
        record: RequestRecord,
        delivering: Delivering,
    ) -> bytes:
        """Send everything but the last bytes, which it returns."""
        tally = UsageTally(self._request)
        choice, events = await self._opening.wait(anext(replies), send, STILL_WAITING)
        first = self._encoder.begin() + self._encoder.encode(choice, events)
        await self._opening.begin(send)
        await send({"type": "http.response.body", "body": first, "more_body": True})
        tally.read(choice, events)
        # Not kept for as long as the stream is open.
        del first, events
        delivering.body = direct_body(scope)
        last = await stepped(self._write_rest(replies, writer(delivering.body, send), tally))
        tally.note(record)
        return last + self._encoder.end(tally.usage)

    async def _write_rest(self, replies: Replies, write: Write, tally: UsageTally) -> bytes:
        """Write all but the end of the last choice, which leaves with the end of the stream."""
        encode = self._encoder.encode
        last = b""
        async for choice, events in replies:
            body = encode(choice, events)
            if events[-1].__class__ is Finished:
                tally.read(choice, events)
                if tally.complete:
                    last = body
                    continue
            if body and (pending := write(body)) is not None:
                await pending
        return last


def generated(
    request: GenerationRequest,
    record: RequestRecord,
    times: Sequence[TokenTimes],
    delivery: Delivery | None = None,
) -> Replies:
    """The request's events, once it has a slot."""
    return request.replies(record.origin, [each.arrived for each in times], delivery)
