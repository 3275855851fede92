"""Builds the application: routes, middleware, startup and shutdown."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from enginix import __version__
from enginix.errors import EnginixError
from enginix.gateway.api import (
    chat,
    completions,
    embeddings,
    health,
    inference,
    lifecycle,
    messages,
    models,
    page,
    requests,
    rerank,
    responses,
    status,
    tokenize,
)
from enginix.gateway.http.errors import is_internal
from enginix.gateway.http.heartbeat import beating
from enginix.gateway.http.middleware import Authorization, RequestLog, failure_response
from enginix.gateway.http.openapi import add_schemas
from enginix.gateway.http.origin import BrowserGuard
from enginix.gateway.http.scope import record_of
from enginix.gateway.http.streaming_routes import StreamingRoutes
from enginix.gateway.keys.key_file import KeyFile
from enginix.gateway.models.first_token_watch import models_watched
from enginix.gateway.models.model import Model
from enginix.gateway.models.state import Gateway
from enginix.gateway.schema.chat import ChatRequest
from enginix.gateway.schema.completions import CompletionRequest
from enginix.gateway.schema.embeddings import EmbeddingsRequest, RerankRequest
from enginix.gateway.schema.inference import InferenceRequest
from enginix.gateway.schema.lifecycle import LoadRequest, RestartRequest, UnloadRequest
from enginix.gateway.schema.messages import CountRequest, MessagesRequest
from enginix.gateway.schema.responses import InputTokensRequest, ResponseRequest
from enginix.gateway.schema.tokenize import DetokenizeRequest, TokenizeRequest
from enginix.gateway.settings import Settings, TraceSettings
from enginix.gateway.supervision.loading import when_loaded
from enginix.gateway.supervision.subscription import Opener, following

if TYPE_CHECKING:
    from enginix.gateway.traces.otlp import OtlpTracing

ROUTERS = (
    chat,
    completions,
    embeddings,
    rerank,
    inference,
    responses,
    messages,
    lifecycle,
    requests,
    models,
    tokenize,
    health,
    status,
    page,
)
STREAMING = {
    "/v1/chat/completions": when_loaded(chat.create_chat_completion),
    "/v1/completions": when_loaded(completions.create_completion),
    "/v1/responses": when_loaded(responses.create_response),
    "/v1/messages": when_loaded(messages.create_message),
    "/api/v1/inference/stream": when_loaded(inference.create_inference),
    "/v1/embeddings": when_loaded(embeddings.create_embeddings, "embed"),
    **dict.fromkeys(rerank.PATHS, when_loaded(rerank.create_rerank, "rerank")),
}
LIMIT_HEADERS = [
    name
    for what in ("requests", "tokens")
    for each in ("limit", "remaining", "reset")
    for name in (f"x-ratelimit-{each}-{what}", f"anthropic-ratelimit-{what}-{each}")
]
SCHEMAS: list[type[BaseModel]] = [
    LoadRequest,
    UnloadRequest,
    RestartRequest,
    ChatRequest,
    CompletionRequest,
    InferenceRequest,
    EmbeddingsRequest,
    RerankRequest,
    ResponseRequest,
    InputTokensRequest,
    MessagesRequest,
    CountRequest,
    TokenizeRequest,
    DetokenizeRequest,
]


def create_app(
    open_models: Callable[[], Sequence[Model]],
    settings: Settings | None = None,
    *,
    opener: Opener | None = None,
    beside: Callable[[Gateway], AbstractAsyncContextManager[None]] = lambda _: nullcontext(),
    metrics_directory: str | None = None,
) -> Application:
    """An application; `open_models` runs in its event loop, to which backends belong.

    `opener` opens models that the supervisor reports later; `beside` is entered while it serves.
    """
    settings = settings or Settings()
    tracing = opened(settings.traces) if settings.traces else None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Gateway]]:
        gateway = Gateway(open_models(), settings, metrics_directory=metrics_directory)
        app.state.gateway = gateway
        try:
            async with (
                following(gateway, opener),
                models_watched(gateway),
                gateway.peers.answering(),
                beating(metrics_directory),
                beside(gateway),
                gateway.usage.writing() if gateway.usage else nullcontext(),
                tracing.exporting() if tracing else nullcontext(),
            ):
                # The server finds running requests there when it is told to stop.
                yield {"gateway": gateway}
        finally:
            await gateway.close()

    # FastAPI's own documentation pages load their scripts from the internet.
    app = Application(
        title="enginix", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    for module in ROUTERS:
        app.include_router(module.router)
    for kind in (EnginixError, HTTPException, ClientDisconnect):
        app.add_exception_handler(kind, answer_failure)
    app.add_exception_handler(Exception, answer_bug)
    app.state.key_file = KeyFile(settings.key_file) if settings.key_file else None
    app.outermost = RequestLog(guarded(app, settings), tracing.begin if tracing else None)
    add_schemas(app, SCHEMAS, keyless=settings.keyless)
    return app


class Application(FastAPI):
    """FastAPI behind our own middlewares, the last of which answers the streaming routes itself.

    FastAPI has its own middlewares outermost, and more of them with every release: a stream would
    pass through all.
    """

    outermost: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.answer(scope, receive, send)

    def answer(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """The same for our server: a coroutine less for each open stream."""
        scope["app"] = self
        return self.outermost(scope, receive, send)

    async def route(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer by FastAPI."""
        await super().__call__(scope, receive, send)


def guarded(app: Application, settings: Settings) -> ASGIApp:
    """The routes, behind what refuses requests."""
    inner: ASGIApp = StreamingRoutes(app.route, STREAMING, answer_failure)
    if not settings.keyless:
        inner = Authorization(inner, sorted(settings.api_keys), app.state.key_file)
    if settings.cors_origins:
        inner = with_cors(inner, settings.cors_origins)
    return BrowserGuard(inner, settings)


def opened(traces: TraceSettings) -> OtlpTracing:
    # OpenTelemetry is an extra, and takes a while to import.
    from enginix.gateway.traces.otlp import OtlpTracing

    return OtlpTracing(traces)


def with_cors(app: ASGIApp, origins: frozenset[str]) -> ASGIApp:
    return CORSMiddleware(
        app,
        allow_origins=sorted(origins),
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=["X-Request-Id", "X-Response-Time", "Retry-After", *LIMIT_HEADERS],
    )


async def answer_failure(request: Request, error: Exception) -> Response:
    """Every deliberate error becomes its status and envelope here, and nowhere else."""
    if isinstance(error, ClientDisconnect):
        record_of(request).client_left = True
        return Response(status_code=400)
    if isinstance(error, EnginixError):
        record_of(request).error = type(error).__name__
        if is_internal(error):
            raise error
    return failure_response(error, request.url.path)


async def answer_bug(request: Request, error: Exception) -> Response:
    """Any other error; the request's log has it from FastAPI, which raises it again."""
    return failure_response(error, request.url.path)
