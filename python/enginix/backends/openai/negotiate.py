"""Retries a request without what its server refuses and its client does not need."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson

from enginix.backends.openai.connection import Connection
from enginix.backends.openai.server import OpenAIBackend, has_no_route, refusal
from enginix.errors import EnginixError, GenerationFailed, RequestError
from enginix.generation.request import Origin

Body = Mapping[str, Any]
# A server, a body, its refusal and the refusal's own bytes -> a body that may be accepted.
Retry = Callable[[OpenAIBackend, Body, EnginixError, bytes], Body | None]

# Clients return the reasoning they were sent, and some servers refuse messages with it.
REASONING = "reasoning_content"
REASONING_NAMES = (REASONING, "reasoning", "thinking")
# What a server lacks whose model has no vision.
IMAGES = "images"
TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")
CONTEXT = ("context", "max_seq_len", "max_model_len")
# How servers refuse images for a model without vision.
NO_VISION = re.compile(r"image|multi-?modal|vision|mmproj", re.IGNORECASE)


@asynccontextmanager
async def negotiated(
    server: OpenAIBackend,
    path: str,
    body: Body,
    origin: Origin,
    retries: Sequence[Retry],
    *,
    streams: bool,
    has_fallback: Callable[[], bool] = lambda: False,
) -> AsyncIterator[Connection | None]:
    """A response of status 200; None from a server without the route, if there `has_fallback`.

    Raises the refusal that no retry avoids.
    """
    while True:
        async with server.ask(path, orjson.dumps(body), origin, streams=streams) as response:
            if response.status == 200:
                content = response.headers.get("content-type", "")
                if streams and not content.startswith("text/event-stream"):
                    raise GenerationFailed(f"{server.name} was asked for a stream and sent none")
                # The response may take long: its request is not kept meanwhile.
                del body
                yield response
                return
            text = await response.read_error()
        if has_no_route(path, response.status, text) and has_fallback():
            server.mark_unsupported(path)
            yield None
            return
        refused = refusal(server.name, response.status, text)
        if not isinstance(refused, RequestError | GenerationFailed):
            raise refused
        changed = (retry(server, body, refused, text) for retry in retries)
        if (retried := next(filter(None, changed), None)) is None:
            raise refused
        body = retried


def drop_token_limit(
    server: OpenAIBackend, body: Body, refused: EnginixError, text: bytes
) -> Body | None:
    """Drop a limit that exceeds the context: clients send the same one with every prompt."""
    message = str(refused)
    if any(name in message for name in TOKEN_LIMITS) and any(word in message for word in CONTEXT):
        less = {name: value for name, value in body.items() if name not in TOKEN_LIMITS}
        return less if len(less) < len(body) else None
    return None


def drop_reasoning(
    server: OpenAIBackend, body: Body, refused: EnginixError, text: bytes
) -> Body | None:
    messages = body.get("messages")
    if REASONING.encode() not in text or (plain := without_reasoning(messages)) == messages:
        return None
    server.mark_unsupported(REASONING)
    return {**body, "messages": plain}


def drop_images(blind: Sequence[Mapping[str, Any]] | None) -> Retry:
    """`blind`: the same messages without images, if they have any."""

    def drop(server: OpenAIBackend, body: Body, refused: EnginixError, text: bytes) -> Body | None:
        if blind is None or blind == body["messages"] or not NO_VISION.search(str(refused)):
            return None
        server.mark_unsupported(IMAGES)
        return {**body, "messages": blind}

    return drop


def without_reasoning(messages: Any) -> Any:
    """The same messages, if `messages` is a list of them, for a server that refuses reasoning."""
    if not isinstance(messages, list | tuple):
        return messages
    return [
        {name: value for name, value in message.items() if name not in REASONING_NAMES}
        if isinstance(message, dict)
        else message
        for message in messages
    ]
