"""Bodies: read and decoded once, whoever asks for them."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.backend import FakeBackend
from fastapi import FastAPI
from gateway.harness import application, served
from starlette.requests import Request

from enginix.errors import RequestError
from enginix.gateway.http.body import LARGE_BODY, forget_request, read_document
from enginix.gateway.http.scope import GATEWAY, RECORD
from enginix.gateway.models.record import RequestRecord


def sent(app: FastAPI, body: bytes) -> Request:
    """A request whose body can be received once."""
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> dict[str, Any]:
        return next(messages)

    record = RequestRecord("r", 0.0)
    scope = {"type": "http", "headers": [], "path": "/", RECORD: record}
    scope[GATEWAY] = app.state.gateway
    return Request(scope, receive)


@pytest.mark.parametrize("size", [1, LARGE_BODY])
async def test_a_body_is_decoded_once_for_all_who_read_it(size: int) -> None:
    async with application(served(FakeBackend())) as app:
        request = sent(app, b'{"text": "%b"}' % (b"x" * size))
        document = await read_document(request)
        assert document == {"text": "x" * size}
        assert await read_document(request) is document


async def test_a_body_that_is_not_json_is_refused_as_often_as_it_is_read() -> None:
    async with application(served(FakeBackend())) as app:
        request = sent(app, b"{")
        for _ in range(2):
            with pytest.raises(RequestError, match="the body is not JSON"):
                await read_document(request)


async def test_an_open_stream_keeps_no_document() -> None:
    async with application(served(FakeBackend())) as app:
        request = sent(app, b"{}")
        await read_document(request)
        before = {*request.scope}
        forget_request(request.scope)
        assert before - {*request.scope} == {"enginix.document"}
