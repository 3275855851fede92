"""Passes requests on to a server that speaks the dialect itself, and its bytes back as they come.

Only the model's name is changed, both ways. What the server has already told apart, reasoning and
tool calls, stays as it is.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from enginix.backends.http1 import Connection
from enginix.backends.openai import refusal
from enginix.errors import BackendUnavailable, EnginixError, GenerationFailed
from enginix.gateway.body import read_bytes
from enginix.gateway.disconnect import unless_client_leaves
from enginix.gateway.errors import error_body, failure_of
from enginix.gateway.gateway import Gateway
from enginix.gateway.models import RelayedModel
from enginix.gateway.record import RequestRecord, TokenTimes
from enginix.gateway.sse import HEADERS, STILL_WAITING
from enginix.gateway.state import gateway_of, record_in

MODEL = re.compile(rb'"model"\s*:\s*"(?:[^"\\]|\\.)*"')
USAGE = re.compile(rb'"usage"\s*:\s*(\{)')
# A whole answer, not a stream, may be this long.
MOST_OF_AN_ANSWER = 64 << 20


async def relay(request: Request) -> Response | None:
    """The answer of the server that has the model; None where we answer ourselves."""
    gateway = gateway_of(request)
    if not gateway.models.relays:
        return None
    body = await read_bytes(request)
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(asked, dict):
        return None
    return relay_to(gateway, request.url.path, asked)


def relay_to(gateway: Gateway, path: str, asked: dict[str, Any]) -> Response | None:
    """As `relay`, for a body that was read already and the path it belongs to."""
    name = asked.get("model")
    if not gateway.models.relays or not (name is None or isinstance(name, str)):
        return None
    model = gateway.models.resolve(name)
    if not isinstance(model, RelayedModel):
        return None
    body = orjson.dumps({**asked, "model": model.backend.model})
    return Relayed(gateway, model, path, body, streams=asked.get("stream") is True)


class Relayed(Response):
    """Asks the server while it is being sent; a client that leaves ends that request, too."""

    def __init__(
        self, gateway: Gateway, model: RelayedModel, path: str, body: bytes, *, streams: bool
    ) -> None:
        super().__init__()
        self._gateway = gateway
        self._model = model
        self._path = path
        self._asked = body
        self._streams = streams
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = record_in(scope)
        stayed = await unless_client_leaves(receive, self._answer(send, record))
        record.client_left = not stayed

    async def _answer(self, send: Send, record: RequestRecord) -> None:
        try:
            async with self._gateway.at_work(self._model.name, record) as (times,):
                if self._streams:
                    await self._stream(send, record, times)
                else:
                    await self._whole(send, record, times)
        except EnginixError as error:
            record.error = type(error).__name__
            if not self._begun:
                raise
            last = b"data: %b\n\n" % error_body(failure_of(error), self._path)
            await send({"type": "http.response.body", "body": last, "more_body": False})

    def _request(self, record: RequestRecord) -> AbstractAsyncContextManager[Connection]:
        return self._model.backend.ask(self._path, self._asked, record.id)

    async def _whole(self, send: Send, record: RequestRecord, times: TokenTimes) -> None:
        async with self._request(record) as answer:
            if answer.status != 200:
                raise await refusal(self._model.backend.name, answer)
            body = await answer.read(MOST_OF_AN_ANSWER)
        note_usage(body, record, times)
        body = Rename(self._model.name).feed(body)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        self._begun = True
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _stream(self, send: Send, record: RequestRecord, times: TokenTimes) -> None:
        async with self._awaited(send, record) as answer:
            if answer.status != 200:
                raise await refusal(self._model.backend.name, answer)
            if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                raise GenerationFailed(
                    f"{self._model.backend.name} was asked for a stream and sent none"
                )
            await self._begin(send)
            events, tail = Events(), b""
            rename = Rename(self._model.name).feed
            while piece := await answer.piece():
                whole = events.feed(piece)
                if not whole:
                    continue
                times.arrived(whole.count(b"\n\n") or 1)
                tail = whole
                await send({"type": "http.response.body", "body": rename(whole), "more_body": True})
            note_usage(tail, record, None)
            if not events.ended(self._path):
                raise BackendUnavailable(
                    f"{self._model.backend.name} ended its answer without saying that it was over"
                )
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    @asynccontextmanager
    async def _awaited(self, send: Send, record: RequestRecord) -> AsyncIterator[Connection]:
        """The server's answer; a comment now and then while it does not begin."""
        request = self._request(record)
        entering = asyncio.ensure_future(request.__aenter__())
        try:
            while not entering.done():
                await asyncio.wait({entering}, timeout=self._gateway.settings.load.keep_awake)
                if not entering.done():
                    await self._begin(send)
                    waiting = {"type": "http.response.body", "body": STILL_WAITING}
                    await send({**waiting, "more_body": True})
            answer = entering.result()
        finally:
            if not entering.done():
                entering.cancel()
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({entering})
        try:
            yield answer
        finally:
            await request.__aexit__(None, None, None)

    async def _begin(self, send: Send) -> None:
        if not self._begun:
            self._begun = True
            headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
            headers.append((b"content-type", b"text/event-stream; charset=utf-8"))
            await send({"type": "http.response.start", "status": 200, "headers": headers})


class Events:
    """Cuts a stream of bytes between its events: half an event is kept until it is whole."""

    def __init__(self) -> None:
        self._rest = b""
        self._last = b""

    def feed(self, piece: bytes) -> bytes:
        """All events that are whole by now."""
        if not self._rest and piece.endswith(b"\n\n"):
            self._last = piece
            return piece
        data = self._rest + piece
        end = data.rfind(b"\n\n") + 2
        if end < 2:
            self._rest = data
            return b""
        self._rest = data[end:]
        self._last = data[:end]
        return self._last

    def ended(self, path: str) -> bool:
        """Whether the stream's last event said that it was the last."""
        if path.startswith(("/v1/responses", "/v1/messages")):
            return not self._rest
        return self._last.rstrip().endswith(b"data: [DONE]")


class Rename:
    """Puts our name of a model where the server has its own.

    What looks like the key cannot stand inside a text: there its quotes are escaped. The server
    always writes it the same way, so after the first time it is a plain replacement.
    """

    def __init__(self, name: str) -> None:
        self._ours = b'"model":' + orjson.dumps(name)
        self._theirs: bytes | None = None

    def feed(self, data: bytes) -> bytes:
        if self._theirs is None:
            found = MODEL.search(data)
            if found is None:
                return data
            self._theirs = found[0]
        if self._theirs == self._ours:
            return data
        return data.replace(self._theirs, self._ours)


def note_usage(body: bytes, record: RequestRecord, times: TokenTimes | None) -> None:
    """What the server says of its tokens, for the log and the metrics."""
    usage = usage_in(body)
    if usage is None:
        return
    prompt, completion = usage
    record.prompt_tokens = prompt
    if times is not None and completion:
        times.arrived(completion)


def usage_in(body: bytes) -> tuple[int, int] | None:
    """(prompt tokens, completion tokens) of a document, or of the last event that has them."""
    for found in reversed(list(USAGE.finditer(body))):
        end = body.find(b"}", found.start(1))
        numbers = dict(re.findall(rb'"(\w+)"\s*:\s*(\d+)', body[found.start(1) : end]))
        prompt = numbers.get(b"prompt_tokens") or numbers.get(b"input_tokens")
        completion = numbers.get(b"completion_tokens") or numbers.get(b"output_tokens")
        if prompt and completion:
            return int(prompt), int(completion)
    return None
