"""A server that speaks the OpenAI API itself, as a backend: trtllm-serve, vLLM, llama-server."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
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
from enginix.generation.limits import Limits

PROBE_SECONDS = 2.0
# As long as a first token may take, whichever token it is: servers that tell calls apart hold them
# back until they are whole.
SILENCE_SECONDS = Limits().first_token
RETRY_SECONDS = 1.0
# How long it is believed that a server lacks something; it may be a newer one by then.
LACK_SECONDS = 60.0
NO_ROUTE = re.compile(r"\W*(?:404\W+)?(?:\w+ )?not found\W*|.*\bcannot post\b.*", re.IGNORECASE)


class OpenAIBackend:
    """`model` is what the server itself calls the model."""

    def __init__(
        self,
        name: str,
        url: str,
        model: str,
        *,
        api_key: str | None = None,
        probe_seconds: float = PROBE_SECONDS,
        silence: float = SILENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.model = model
        # A connection is closed with its request: nothing can come after it.
        self.late_tokens = 0
        self._http = HttpClient(url, name=name)
        self._authorization = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._probe_seconds = probe_seconds
        self._silence = silence
        self._clock = clock
        # Route or field -> until when, and how often the server had been away by then.
        self._lacking: dict[str, tuple[float, int]] = {}

    def mark_unsupported(self, what: str) -> None:
        """The server has no such route, or refuses such a field."""
        self._lacking[what] = (self._clock() + LACK_SECONDS, self._http.outages)

    def lacks(self, what: str) -> bool:
        """Whether that is known; not for longer than it may be true."""
        until, outages = self._lacking.get(what, (-1.0, 0))
        return self._clock() < until and outages == self._http.outages

    def ask(
        self, path: str, body: bytes, request_id: str = "", *, streams: bool = False
    ) -> AbstractAsyncContextManager[Connection]:
        """Send `body`, whose model is this server's own name; leaving the block cancels it.

        `streams`: it is a stream that was asked for, which never falls silent for long.
        """
        headers = {"Content-Type": "application/json", **self._authorization}
        if request_id:
            headers["X-Request-Id"] = request_id
        silence = self._silence if streams else None
        return self._http.request("POST", path, body, headers, silence=silence)

    async def probe(self) -> None:
        """Return once a token came out; a server's own health stays green without any."""
        body = {"model": self.model, "prompt": "Hi", "max_tokens": 1, "temperature": 0}
        try:
            async with (
                asyncio.timeout(self._probe_seconds),
                self.ask("/v1/completions", orjson.dumps(body), "probe") as answer,
            ):
                text = await answer.read_error()
                if answer.status != 200:
                    raise BackendUnavailable(
                        f"{self.name} answered {answer.status}: {words_of(text)}"
                    )
        except TimeoutError:
            raise BackendTimedOut(
                f"{self.name} produced no token within {self._probe_seconds:g} s"
            ) from None
        if b'"choices"' not in text:
            raise GenerationFailed(f"{self.name} ended a one-token answer without a token")

    async def close(self) -> None:
        await self._http.close()


def has_no_route(path: str, status: int, body: bytes) -> bool:
    """Whether a refusal is about the route itself, not about what was asked there."""
    if status in (405, 501):
        return True
    if status != 404:
        return False
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return True
    words = words_of(body)
    return path in words or NO_ROUTE.fullmatch(words) is not None


def error_in_event(name: str, event: dict[str, Any]) -> EnginixError | None:
    """What an event of a stream says that has begun; None when it is an ordinary one."""
    if not event.get("error") and event.get("object") != "error":
        return None
    body = orjson.dumps(event)
    code = _error_of(body).get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    return refusal(name, status, body)


# What llama-server calls an error of its own, and is one of the request's: a conversation that the
# template refuses, a field of the wrong type, a schema or grammar that is none.
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
)


def refusal(name: str, status: int, body: bytes) -> EnginixError:
    """An answer that is none, as our own error."""
    words = words_of(body)
    if status == 429:
        return Overloaded(f"{name} is full: {words}", retry_after=RETRY_SECONDS)
    if status == 503:
        return BackendUnavailable(f"{name} is not ready: {words}")
    if status == 504:
        return BackendTimedOut(f"{name} took too long: {words}")
    if status in (401, 403):
        return BackendError(f"{name} does not let this gateway in: {words}")
    if 400 <= status < 500:
        error = _error_of(body)
        if too_long := prompt_too_long(words, error):
            return too_long
        return RequestError(words, param=_text(error.get("param")), code=_text(error.get("code")))
    if status == 500 and any(sign in words for sign in CLIENT_MISTAKES):
        return RequestError(words, code="invalid_value")
    return GenerationFailed(f"{name} failed ({status}): {words}")


def words_of(body: bytes) -> str:
    """What an error's body says, in any of the forms these servers have."""
    error = _error_of(body)
    message = _text(error.get("message")) or _text(error.get("detail"))
    return message or body.decode(errors="replace").strip()[:500] or "it gave no reason"


def _error_of(body: bytes) -> dict[str, Any]:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(data, dict):
        return {}
    # OpenAI's and llama-server's envelope, vLLM's older flat one, FastAPI's own `detail`.
    inner = data.get("error")
    if isinstance(inner, str):
        return {**data, "message": inner}
    return inner if isinstance(inner, dict) else data


def _text(value: object) -> str | None:
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else orjson.dumps(value).decode()
