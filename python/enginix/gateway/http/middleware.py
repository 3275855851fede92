"""Request ids, API keys and the access log, as plain ASGI that does not buffer streams.

What only looks at a request is no coroutine, but returns the next application's: each takes 0.2 KB
for as long as a stream is open.
"""

from __future__ import annotations

import hmac
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable, Sequence

import orjson
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from enginix.errors import NotAuthorized, NotPermitted, RequestError
from enginix.gateway.http.access import Need, need_of
from enginix.gateway.http.errors import error_body, failure_at, speaks_anthropic
from enginix.gateway.http.scope import GATEWAY, RECORD, gateway_in, header_in, headers_in, record_in
from enginix.gateway.http.writing import hold
from enginix.gateway.keys.key import Key, digest_of
from enginix.gateway.keys.key_file import KeyFile
from enginix.gateway.keys.limits import limit_headers
from enginix.gateway.models.metrics import CLIENT_LEFT
from enginix.gateway.models.record import RequestRecord, RequestTrace

logger = logging.getLogger(__name__)
access = logging.getLogger("enginix.access")

# None for a request that is not traced.
BeginTrace = Callable[[Scope], RequestTrace | None]

# The client's id returns in a header and appears in the log.
VALID_ID = re.compile(r"[!-~]{1,128}")
# Polled every few seconds: logged only when the answer is an error.
POLLED = frozenset(
    {"/livez", "/readyz", "/health", "/metrics", "/v1/status", "/v1/requests"},
)


class RequestLog:
    """Creates a request's record and logs it when the request ends."""

    def __init__(self, app: ASGIApp, begin_trace: BeginTrace | None) -> None:
        self._app = app
        self._begin_trace = begin_trace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope[GATEWAY] = scope["app"].state.gateway
        client = scope.get("client")
        record = scope[RECORD] = RequestRecord(
            request_id(scope),
            time.monotonic(),
            scope["path"],
            client[0] if client else None,
        )
        routed = as_routed(scope)
        if self._begin_trace is not None:
            record.trace = self._begin_trace(routed)

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                _add_headers(message, record, scope)
                # It leaves with the first bytes of the body, if these are here.
                hold(scope)
            await send(message)

        try:
            await self._app(routed, receive, send_on)
        except Exception as error:
            record.error = type(error).__name__
            logger.exception("request %s failed", record.id)
            if not record.status:
                await failure_response(error, scope["path"])(scope, receive, send_on)
        finally:
            self._log(scope, record, getattr(routed.get("route"), "path", "unknown"))

    def _log(self, scope: Scope, record: RequestRecord, route: str) -> None:
        seconds = time.monotonic() - record.started
        gateway_in(scope).finished(record, route, seconds)
        if record.trace is not None:
            record.trace.end(record)
        if scope["path"] in POLLED and record.status < 400:
            return
        if access.isEnabledFor(logging.INFO):
            access.info("%s", orjson.dumps(log_entry(scope, record, seconds)).decode())


class Authorization:
    """Lets a request in that has the API key which its route needs; see gateway/http/access.py."""

    def __init__(self, app: ASGIApp, keys: Sequence[str], key_file: KeyFile | None) -> None:
        self._app = app
        self._digests = [digest_of(key) for key in keys]
        self._named = key_file

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        app = self._app
        if scope["type"] == "http":
            need = need_of(scope["method"], scope["path"])
            if need != Need.OPEN and (refusal := self._refusal(scope, need)):
                app = failure_response(refusal, scope["path"])
        return app(scope, receive, send)

    def _refusal(self, scope: Scope, need: Need) -> RequestError | None:
        digests = [digest_of(key) for key in _keys(scope)]
        if not digests:
            return NotAuthorized("the request has no API key")
        # Compare with all keys, so that the time reveals nothing.
        fits = [hmac.compare_digest(digest, known) for digest in digests for known in self._digests]
        if any(fits):
            return None
        refusals: list[RequestError] = []
        # The digest of a guess says nothing about that of a key.
        for key in filter(None, map(self._named.find, digests)) if self._named else ():
            refusal = _accept(key, scope, need)
            if refusal is None:
                return None
            refusals.append(refusal)
        return refusals[0] if refusals else NotAuthorized("the request's API key is unknown")


def _accept(key: Key, scope: Scope, need: Need) -> RequestError | None:
    """Note the request's key, or say why it does not let the request in."""
    if key.expired:
        return NotAuthorized(f"the API key {key.name!r} expired on {key.expires:%Y-%m-%d}")
    record_in(scope).key = key
    return NotPermitted(key.name) if need == Need.ADMIN and not key.admin else None


def failure_response(error: BaseException, path: str) -> Response:
    failure = failure_at(path, error)
    return Response(
        error_body(failure, path),
        failure.status,
        failure.headers(),
        media_type="application/json",
    )


def as_routed(scope: Scope) -> Scope:
    """The request as routes expect it: no trailing slash, and HEAD as a GET.

    The server itself drops the body of an answer to HEAD. A redirect to the path without the slash
    would lose the body of a POST, and the scheme behind a proxy.
    """
    path, method = scope["path"], scope["method"]
    if method != "HEAD" and not (path.endswith("/") and path != "/"):
        return scope
    return {
        **scope,
        "method": "GET" if method == "HEAD" else method,
        "path": path.rstrip("/") or "/",
    }


def request_id(scope: Scope) -> str:
    """The client's own id if it is valid, otherwise a new one."""
    sent = header_in(scope, b"x-request-id")
    return sent if sent and VALID_ID.fullmatch(sent) else os.urandom(16).hex()


def log_entry(scope: Scope, record: RequestRecord, seconds: float) -> dict[str, object]:
    entry = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "request_id": record.id,
        "client": record.client,
        "method": scope["method"],
        "path": record.path,
        "status": CLIENT_LEFT if record.client_left else record.status,
        "seconds": round(seconds, 4),
    }
    if record.trace is not None:
        entry["trace_id"] = record.trace.id
    if record.key:
        entry["key"] = record.key.name
    if record.model:
        entry |= {
            "model": record.model,
            "prompt_tokens": record.prompt_tokens,
            "cached_tokens": record.cached_tokens,
            "completion_tokens": record.completion_tokens,
            "finish_reasons": record.finish_reasons,
            "queue_seconds": _rounded(record.queued),
            "first_token_seconds": _rounded(record.first_token),
        }
    if record.error:
        entry["error"] = record.error
    if record.prompt is not None:
        entry["prompt"] = record.prompt
    return entry


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


def _add_headers(message: Message, record: RequestRecord, scope: Scope) -> None:
    # No response has any of these yet.
    headers = message.setdefault("headers", [])
    headers.append((b"x-request-id", record.id.encode("latin-1")))
    if speaks_anthropic(scope["path"]):
        headers.append((b"request-id", record.id.encode("latin-1")))
    if record.standing:
        limits = limit_headers(record.standing, anthropic=speaks_anthropic(scope["path"]))
        headers.extend((name.encode(), value.encode()) for name, value in limits.items())
    if gateway_in(scope).leaving:
        # The client's next request is to find another gateway.
        headers.append((b"connection", b"close"))
    since = time.monotonic() - record.started
    headers.append((b"x-response-time", b"%.1fms" % (since * 1000)))


def _keys(scope: Scope) -> list[str]:
    """All keys sent in either header: some clients send a token of their own beside the key."""
    schemes = (text.partition(" ") for text in headers_in(scope, b"authorization"))
    bearers = [token for scheme, _, token in schemes if scheme.lower() == "bearer"]
    sent = (key.strip() for key in (*bearers, *headers_in(scope, b"x-api-key")))
    return [key for key in sent if key]
