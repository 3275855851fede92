"""How a passed-through stream ends in each dialect: normally, or with an error."""

from __future__ import annotations

import re

import orjson

from enginix.gateway.http.errors import Failure, anthropic_error, openai_error, speaks_anthropic

NUMBER = re.compile(rb'"sequence_number"\s*:\s*(\d+)')
LAST_RESPONSE = re.compile(
    rb'"type"\s*:\s*"(?:response\.(?:completed|incomplete|failed|cancelled)|error)"'
)
LAST_MESSAGE = re.compile(rb'"type"\s*:\s*"(?:message_stop|error)"')
DONE = re.compile(rb"data: ?\[DONE\]\s*$")


def speaks_responses(path: str) -> bool:
    return path == "/v1/responses"


def is_terminal(events: bytes, path: str) -> bool:
    if DONE.search(events):
        return True
    if speaks_anthropic(path):
        return LAST_MESSAGE.search(events) is not None
    return speaks_responses(path) and LAST_RESPONSE.search(events) is not None


def error_event(failure: Failure, path: str, events: bytes) -> bytes:
    """The event that ends a stream which broke off after `events`."""
    if speaks_anthropic(path):
        return b"event: error\ndata: %b\n\n" % anthropic_error(failure)
    if speaks_responses(path):
        numbers = NUMBER.findall(events)
        error = {
            "type": "error",
            "sequence_number": int(numbers[-1]) + 1 if numbers else 0,
            "code": failure.code or "server_error",
            "message": failure.message,
            "param": failure.param,
        }
        return b"event: error\ndata: %b\n\n" % orjson.dumps(error)
    return b"data: %b\n\n" % openai_error(failure)
