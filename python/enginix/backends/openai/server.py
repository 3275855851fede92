"""A client of an OpenAI server (trtllm-serve, vLLM, llama-server), with our errors for its own."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import orjson

from enginix.backends.openai.connection import Connection
from enginix.backends.openai.http import HttpClient
from enginix.backends.openai.overflow import prompt_too_long
from enginix.errors import (
    BackendError,
    BackendTimedOut,
    BackendUnavailable,
    EnginixError,
    GenerationFailed,
    Overloaded,
    RequestError,
)
from enginix.generation.backend import Replica
from enginix.generation.limits import Limits
from enginix.generation.request import Origin

PROBE_SECONDS = 2.0
# The limit for a first token holds for every token: servers that parse calls hold them back until
# they are whole.
SILENCE_SECONDS = Limits().first_token
RETRY_SECONDS = 1.0
# A route, a body, what a reply contains that proves it, as a regular expression, and its name.
Proof = tuple[str, dict[str, Any], bytes, str]
# What a model does -> how that is seen.
PROBES: dict[str, Proof] = {
    "generate": (
        "/v1/completions",
        {"prompt": "Hi", "max_tokens": 1, "temperature": 0},
        b'"choices"',
        "token",
    ),
    "embed": ("/v1/embeddings", {"input": "Hi"}, b'"embedding"', "embedding"),
    "rerank": (
        "/v1/rerank",
        {"query": "Hi", "documents": ["Hi"]},
        b'"relevance_score"',
        "score",
    ),
}
UNKNOWN_ORIGIN = Origin()
# Of a server without /v1/completions. It streams, so that one which gives up ends the request.
CHAT_PROBE: Proof = (
    "/v1/chat/completions",
    {
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 1,
        "temperature": 0,
        "stream": True,
    },
    rb'"finish_reason": ?"(?:stop|length)"',
    "token",
)
# How long to remember that a server lacks something: it may be replaced later.
LACK_SECONDS = 60.0
NO_ROUTE = re.compile(r"\W*(?:404\W+)?(?:\w+ )?not found\W*|.*\bcannot post\b.*", re.IGNORECASE)


class OpenAIBackend:
    """`model` is the server's own name of the model; `only_chats`: it has no other route."""

    def __init__(
        self,
        name: str,
        url: str,
        model: str,
        *,
        task: str = "generate",
        api_key: str | None = None,
        only_chats: bool = False,
        probe_seconds: float = PROBE_SECONDS,
        silence: float = SILENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.model = model
        self.task = task
        self._proof = CHAT_PROBE if only_chats else PROBES[task]
        # A connection closes with its request, so no token comes late.
        self.late_tokens = 0
        self.http = HttpClient(url, name=name)
        authorization = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._headers = {"Content-Type": "application/json", **authorization}
        self._probe_seconds = probe_seconds
        self._silence = silence
        self._clock = clock
        # Route or field -> until when to remember it, and how often the server had been away.
        self._lacking: dict[str, tuple[float, int]] = {}

    @property
    def outages(self) -> int:
        """How often it accepted no connection."""
        return self.http.outages

    def mark_unsupported(self, what: str) -> None:
        """Remember for LACK_SECONDS that the server has no such route, or refuses such a field."""
        self._lacking[what] = (self._clock() + LACK_SECONDS, self.outages)

    def lacks(self, what: str) -> bool:
        """Whether the server is known not to support it; forgotten once the server was away."""
        until, outages = self._lacking.get(what, (-1.0, 0))
        return self._clock() < until and outages == self.outages

    def ask(
        self, path: str, body: bytes, origin: Origin = UNKNOWN_ORIGIN, *, streams: bool = False
    ) -> AbstractAsyncContextManager[Connection]:
        """Send `body`, which names the model as the server does; leaving the block cancels it.

        `streams`: the response is a stream, which is given up when it falls silent.
        """
        headers = self._headers
        if origin.request_id:
            headers = {**headers, "X-Request-Id": origin.request_id, **dict(origin.trace)}
        silence = self._silence if streams else None
        return self.http.request("POST", path, body, headers, silence=silence)

    @property
    def replicas(self) -> Sequence[Replica]:
        return ()

    async def probe(self) -> None:
        """Return once a token came out, or what else the model makes.

        A server's own health stays green without any.
        """
        path, fields, proof, made = self._proof
        body = orjson.dumps({"model": self.model, **fields})
        headers = {**self._headers, "X-Request-Id": "probe"}
        await probe(self.http, path, body, headers, proof, self._probe_seconds, made)

    async def close(self) -> None:
        await self.http.close()


async def probe(
    http: HttpClient,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
    proof: bytes,
    seconds: float,
    wanted: str = "token",
) -> None:
    """Return once a response matches `proof` of what is `wanted`. Raises BackendError."""
    try:
        async with (
            asyncio.timeout(seconds),
            http.request("POST", path, body, headers) as response,
        ):
            text = await response.read_error()
    except TimeoutError:
        raise BackendTimedOut(f"{http.name} produced no {wanted} within {seconds:g} s") from None
    if response.status != 200:
        raise BackendUnavailable(f"{http.name} answered {response.status}: {error_message(text)}")
    if not re.search(proof, text):
        raise GenerationFailed(f"{http.name} gave no {wanted}: {error_message(text)}")


def has_no_route(path: str, status: int, body: bytes) -> bool:
    """Whether a refusal is about the route itself, not about the request."""
    if status in (405, 501):
        return True
    if status != 404:
        return False
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return True
    message = error_message(body)
    return path in message or NO_ROUTE.fullmatch(message) is not None


def error_in_event(name: str, event: dict[str, Any]) -> EnginixError | None:
    """The error that an event of a running stream reports, if any."""
    if not event.get("error") and event.get("object") != "error":
        return None
    body = orjson.dumps(event)
    code = _error_of(body).get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    return refusal(name, status, body)


# llama-server parses a finished answer once more, and discards it if its calls are malformed.
UNREADABLE_OUTPUT = "does not match the expected"

# llama-server reports these as its own errors (500), but the request causes them: the template
# refuses the conversation, a field has the wrong type, a schema or grammar is invalid, the model
# reads no images.
CLIENT_MISTAKES = (
    "Jinja Exception",
    "json.exception",
    "JSON schema",
    "Failed to parse grammar",
    "failed to parse grammar",
    "Unsupported content",
    "Unable to generate parser",
    "roles must alternate",
    "Invalid tool_choice",
    "Cannot use",
    "input is not supported",
)


def refusal(name: str, status: int, body: bytes) -> EnginixError:
    """A response with an error status, as our own error."""
    message = error_message(body)
    if status == 429:
        return Overloaded(f"{name} is full: {message}", retry_after=RETRY_SECONDS)
    if status == 503:
        return BackendUnavailable(f"{name} is not ready: {message}")
    if status == 504:
        return BackendTimedOut(f"{name} took too long: {message}")
    if status in (401, 403):
        return BackendError(f"{name} does not let this gateway in: {message}")
    if 400 <= status < 500:
        error = _error_of(body)
        if too_long := prompt_too_long(message, error):
            return too_long
        return RequestError(message, param=_text(error.get("param")), code=_text(error.get("code")))
    # llama-server's status for a text that is too long for an embedding.
    if status == 500 and (too_long := prompt_too_long(message, {})):
        return too_long
    if status == 500 and any(sign in message for sign in CLIENT_MISTAKES):
        return RequestError(message, code="invalid_value")
    if UNREADABLE_OUTPUT in message:
        return GenerationFailed(
            f"{name} could not parse what its model generated ({message}); the request is not at "
            "fault: send it again"
        )
    return GenerationFailed(f"{name} failed ({status}): {message}")


def error_message(body: bytes) -> str:
    """The message in an error's body, in any of these servers' formats."""
    error = _error_of(body)
    text = _text(error.get("message")) or _text(error.get("detail"))
    return text or body.decode(errors="replace").strip()[:500] or "it gave no reason"


def _error_of(body: bytes) -> dict[str, Any]:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(data, dict):
        return {}
    # OpenAI's and llama-server's envelope, vLLM's older flat one, FastAPI's `detail`.
    inner = data.get("error")
    if isinstance(inner, str):
        return {**data, "message": inner}
    return inner if isinstance(inner, dict) else data


def _text(value: object) -> str | None:
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else orjson.dumps(value).decode()
