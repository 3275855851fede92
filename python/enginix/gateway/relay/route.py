"""Decides what is passed on: a request whose model another server has, and speaks its dialect."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from enginix.errors import EnginixError
from enginix.gateway.http.body import DEEPEST, LARGE_BODY, is_deep, read_bytes
from enginix.gateway.http.scope import gateway_of
from enginix.gateway.models.registry import RelayedModel
from enginix.gateway.models.state import Gateway
from enginix.gateway.prompt.guide_limits import check_body
from enginix.gateway.prompt.media import check_media
from enginix.gateway.relay.adapt import CHAT, COUNT, needs_us, plain_body
from enginix.gateway.relay.passing import Relayed
from enginix.gateway.upstream.question import REASONING, without_reasoning

# A request, its model and an error -> a whole stream that tells it, if it is one for that.
Told = Callable[[dict[str, Any], RelayedModel, EnginixError], bytes | None]
Answer = Callable[[Request], Awaitable[Response]]


async def relay(
    request: Request, answer: Answer | None = None, told_in_stream: Told | None = None
) -> Response | None:
    """The answer of the server that has the model; None where it is ours to answer.

    `answer` is how we would: it stands in for a server that turns out not to have the route.
    `told_in_stream`: the stream that says why there is none, where clients do not read a status.
    """
    gateway = gateway_of(request)
    if not gateway.models.relays:
        return None
    asked = await parsed(await read_bytes(request))
    if asked is None:
        return None
    instead = partial(answer, request) if answer else None
    return relay_to(gateway, request.url.path, asked, instead, told_in_stream)


def relay_to(
    gateway: Gateway,
    path: str,
    asked: dict[str, Any],
    instead: Callable[[], Awaitable[Response]] | None = None,
    told_in_stream: Told | None = None,
) -> Response | None:
    """As `relay`, for a body that was read already and the path it belongs to."""
    name, engine = asked.get("model"), asked.get("engine")
    if not gateway.models.relays or not all(
        text is None or isinstance(text, str) for text in (name, engine)
    ):
        return None
    model = gateway.models.resolve(name, engine)
    if not isinstance(model, RelayedModel):
        return None
    # Before anything is asked, and whoever writes the dialect in the end.
    check_body(asked, gateway.settings.request.passed_on)
    check_media(asked, fetched=gateway.settings.request.image_urls)
    if instead is not None and is_ours(model, path, asked):
        return None
    if path == CHAT:
        # There is no other way to ask for it.
        instead = None
    body = {**plain_body(path, asked), "model": model.backend.model}
    if path == CHAT and "messages" in body and model.backend.lacks(REASONING):
        body["messages"] = without_reasoning(body["messages"])
    # A choice between servers is made here, and some of them know no such field.
    body.pop("engine", None)
    streams = asked.get("stream") is True
    told = partial(told_in_stream, asked, model) if told_in_stream and streams else None
    return Relayed(
        gateway, model, path, orjson.dumps(body), streams=streams, instead=instead, told=told
    )


def is_ours(model: RelayedModel, path: str, asked: dict[str, Any]) -> bool:
    """Whether the server's chat completions are asked, and the dialect is written here."""
    # Without tools no call is left in the text.
    parses = model.reasoning is not None or (model.tools is not None and bool(asked.get("tools")))
    return (parses and path != COUNT) or model.backend.lacks(path) or needs_us(path, asked)


async def parsed(body: bytes) -> dict[str, Any] | None:
    """What a body asks; None for one that only its schema can say the mistake of."""
    try:
        if len(body) > LARGE_BODY:
            asked = await asyncio.to_thread(orjson.loads, body)
        else:
            asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    # What cannot be written again cannot be passed on; the schema's reader says so.
    crowded = body.count(b"{") + body.count(b"[") > DEEPEST
    if not isinstance(asked, dict) or (crowded and is_deep(asked)):
        return None
    return asked
