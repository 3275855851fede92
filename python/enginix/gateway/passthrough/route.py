"""Decides what is passed through: a request whose model's own server speaks its dialect."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from enginix.errors import EnginixError
from enginix.gateway.http.body import beside_loop, read_document
from enginix.gateway.http.scope import gateway_of, models_of
from enginix.gateway.models.model import Model
from enginix.gateway.passthrough.adapt import CHAT
from enginix.gateway.passthrough.response import PassthroughResponse
from enginix.gateway.prompt.guide_limits import check_body
from enginix.gateway.prompt.media import check_media

# A request, its model and an error -> a whole stream that reports it, if clients read it there.
ErrorStream = Callable[[Mapping[str, Any], Model, EnginixError], bytes | None]
Answer = Callable[[Request], Awaitable[Response]]
# What a request's `model` and `engine` may be.
NAMED = (str, type(None))


async def pass_through(
    request: Request, answer: Answer | None = None, error_stream: ErrorStream | None = None
) -> Response | None:
    """The response of the model's own server; None if this gateway writes it.

    `answer` writes it here: it stands in for a server that turns out not to have the route.
    `error_stream`: the stream that says why there is none, where clients do not read a status.
    """
    if not models_of(request).any_takes_messages:
        return None
    sent = await read_document(request)
    fallback = partial(answer, request) if answer else None
    path = request.scope["path"]
    return await beside_loop(request, pass_to, request, path, sent, fallback, error_stream)


def pass_as_it_is(
    request: Request,
    model: Model,
    path: str,
    sent: Mapping[str, Any],
    check: Callable[[bytes], None] | None = None,
) -> Response:
    """The response of a model whose task only its own server has a route for.

    `check` raises EnginixError for a reply that is not to be passed on.
    """
    passed = model.passthrough(path, sent, translatable=False)
    assert passed is not None, "only servers of the OpenAI API have other tasks"
    return PassthroughResponse(gateway_of(request), passed, streams=False, check=check)


def pass_to(
    request: Request,
    path: str,
    sent: Any,
    fallback: Callable[[], Awaitable[Response]] | None = None,
    error_stream: ErrorStream | None = None,
) -> Response | None:
    """Like `pass_through`, for a body that was read and the path it was sent to."""
    gateway, models = gateway_of(request), models_of(request)
    if not models.any_takes_messages or not isinstance(sent, dict):
        return None
    name, engine = sent.get("model"), sent.get("engine")
    if not (isinstance(name, NAMED) and isinstance(engine, NAMED)):
        return None
    model = models.resolve(name, engine, task="generate")
    continued = sent.get("previous_response_id")
    # What was answered here can only be continued here.
    if not model.takes_messages or (fallback and gateway.responses.has(continued)):
        return None
    # Before any request to the server.
    check_body(sent, gateway.settings.request.passed_on)
    check_media(sent, fetched=gateway.settings.request.image_urls)
    passed = model.passthrough(path, sent, translatable=fallback is not None)
    if passed is None:
        return None
    streams = sent.get("stream") is True
    failed = partial(error_stream, sent, model) if error_stream and streams else None
    return PassthroughResponse(
        gateway,
        passed,
        streams=streams,
        # Chat completions are what all others fall back to.
        fallback=None if path == CHAT else fallback,
        error_stream=failed,
    )
