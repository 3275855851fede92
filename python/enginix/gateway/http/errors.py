"""Maps every exception to its response: one status table, one envelope per dialect."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import orjson
from starlette.exceptions import HTTPException

from enginix.errors import (
    BackendError,
    BackendTimedOut,
    BackendUnavailable,
    BodyTooLarge,
    BodyTooSlow,
    BuildError,
    CatalogError,
    CheckpointError,
    DownloadError,
    EngineError,
    EnginixError,
    ForeignOrigin,
    GenerationFailed,
    ModelNotFound,
    NotAuthorized,
    NotDeclaredJson,
    NotPermitted,
    Overloaded,
    ProcessError,
    PromptTooLong,
    RemovalFailed,
    RequestError,
    RequestStopped,
    ResourceNotFound,
    RuntimeMissing,
    ServerStopping,
    TasksFailed,
    TemplateMismatch,
    UnknownHost,
    UsageError,
    WorseThanBaseline,
)

# An exception's status is that of its nearest ancestor in this table.
STATUS: dict[type[EnginixError], int] = {
    RequestError: 400,
    NotAuthorized: 401,
    NotPermitted: 403,
    ForeignOrigin: 403,
    UnknownHost: 403,
    ModelNotFound: 404,
    ResourceNotFound: 404,
    # Clients try again after a 409, a 429 and a 5xx, which is what the operator does not want.
    RequestStopped: 410,
    BodyTooLarge: 413,
    BodyTooSlow: 408,
    NotDeclaredJson: 415,
    Overloaded: 429,
    BackendError: 502,
    GenerationFailed: 502,
    BackendUnavailable: 503,
    ServerStopping: 503,
    BackendTimedOut: 504,
}

# No request can cause these; if one arrives anyway, it is our bug.
INTERNAL: frozenset[type[EnginixError]] = frozenset(
    {
        UsageError,
        CatalogError,
        CheckpointError,
        DownloadError,
        BuildError,
        EngineError,
        RemovalFailed,
        RuntimeMissing,
        TemplateMismatch,
        ProcessError,
        WorseThanBaseline,
        TasksFailed,
    }
)

# OpenAI's and Anthropic's error types for a status; 500 stands for all others.
OPENAI_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    410: "invalid_request_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "service_unavailable_error",
    504: "timeout_error",
}
ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    410: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}

# Codes that Anthropic's clients act on; they know no others of ours.
ANTHROPIC_CODES = frozenset({"thread_not_found"})

# Our messages for the router's errors.
ROUTING = {
    404: ("there is nothing at this path; /openapi.json lists all paths", "not_found"),
    405: (
        "this path does not allow this method; /openapi.json lists what it allows",
        "method_not_allowed",
    ),
}

# Paths that clients append to their base URL, after /v1.
AFTER_V1 = frozenset(
    {
        "/chat/completions",
        "/completions",
        "/embeddings",
        "/messages",
        "/messages/count_tokens",
        "/models",
        "/rerank",
        "/responses",
    }
)

RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as the client receives it, before a dialect encodes it."""

    status: int
    message: str
    param: str | None = None
    code: str | None = None
    retry_after: float | None = None
    allow: str | None = None
    """The methods that the path allows."""
    anthropic_message: str | None = None
    """The message for Anthropic's clients, if they expect another text."""

    def headers(self) -> dict[str, str]:
        headers = {}
        if self.allow is not None:
            headers["Allow"] = self.allow
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return headers


def failure_of(error: BaseException) -> Failure:
    """What a client learns about `error`; an unexpected one reveals nothing internal."""
    match error:
        case EnginixError():
            return _expected(error)
        case HTTPException():
            plain = (str(error.detail), None)
            message, code = ROUTING.get(error.status_code, plain)
            allow = (error.headers or {}).get("Allow")
            return Failure(error.status_code, message, code=code, allow=allow)
    return Failure(500, "the gateway failed on this request; its log says why, by the request id")


def failure_at(path: str, error: BaseException) -> Failure:
    """As `failure_of`; for a path that a wrong base URL makes, it says what is wrong with it."""
    failure = failure_of(error)
    rest = path
    while rest.startswith("/v1/"):
        rest = rest.removeprefix("/v1")
    if failure.code != "not_found" or rest not in AFTER_V1 or path == f"/v1{rest}":
        return failure
    repair = "add /v1 to the end of" if rest == path else "remove /v1 from the end of"
    message = f"there is nothing at this path, but at /v1{rest}: {repair} the client's base URL"
    return replace(failure, message=message)


def is_internal(error: BaseException) -> bool:
    """Whether the error is the gateway's own bug and is logged with a traceback."""
    return failure_of(error).status == 500


def _expected(error: EnginixError) -> Failure:
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
    match error:
        case Overloaded() | ServerStopping():
            return Failure(status, str(error), None, error.code, error.retry_after)
        case PromptTooLong(anthropic_message=words):
            return Failure(status, str(error), error.param, error.code, anthropic_message=words)
        case RequestError():
            return Failure(status, str(error), error.param, error.code or "invalid_value")
        case BackendUnavailable():
            return Failure(status, str(error), None, "backend_unavailable", RETRY_SECONDS)
        case BackendTimedOut():
            return Failure(status, str(error), None, "backend_timed_out")
    return Failure(status, str(error), None, "backend_error" if status == 502 else None)


def openai_error(failure: Failure) -> bytes:
    return orjson.dumps(
        {
            "error": {
                "message": failure.message,
                "type": OPENAI_TYPES.get(failure.status, OPENAI_TYPES[500]),
                "param": failure.param,
                "code": failure.code,
            }
        }
    )


def anthropic_error(failure: Failure) -> bytes:
    # There is no field for the parameter, and most messages start with it.
    named = failure.param is None or failure.message.startswith(failure.param)
    message = failure.message if named else f"{failure.param}: {failure.message}"
    message = failure.anthropic_message or message
    kind = ANTHROPIC_TYPES.get(failure.status, ANTHROPIC_TYPES[500])
    error: dict[str, object] = {"type": kind, "message": message}
    if failure.code in ANTHROPIC_CODES:
        error["details"] = {"error_code": failure.code}
    return orjson.dumps({"type": "error", "error": error})


def speaks_anthropic(path: str) -> bool:
    return path == "/v1/messages" or path.startswith("/v1/messages/")


def error_body(failure: Failure, path: str) -> bytes:
    """The body of an error in the dialect of the requested route."""
    return anthropic_error(failure) if speaks_anthropic(path) else openai_error(failure)
