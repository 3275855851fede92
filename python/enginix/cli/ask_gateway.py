"""Calls a running gateway over HTTP, for the commands that show and change what it serves."""

from __future__ import annotations

from typing import Any

import httpx

from enginix.cli.api_keys import key_for_gateway
from enginix.errors import BackendError, BackendUnavailable

TIMEOUT_SECONDS = 5.0
# Loading a large model can take this long.
LOAD_SECONDS = 3600.0


def authorization(url: str) -> dict[str, str]:
    """The Authorization header for the gateway at that URL; empty if no key is known."""
    key = key_for_gateway(url)
    return {"Authorization": f"Bearer {key}"} if key else {}


def ask(
    url: str,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    *,
    seconds: float = TIMEOUT_SECONDS,
) -> dict[str, Any]:
    """The response's JSON; BackendError with the gateway's own message for an error status."""
    try:
        answer = httpx.request(
            method,
            f"{url.rstrip('/')}{path}",
            json=body,
            headers=authorization(url),
            timeout=seconds,
            trust_env=False,
        )
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise BackendUnavailable(
            f"no gateway answers at {url} ({error}); start one with `enginix up PROFILE`, or name "
            "another with --url"
        ) from None
    try:
        data = answer.json()
    except ValueError:
        raise BackendError(
            f"{url} is no enginix gateway: it answered {answer.text[:80]!r}"
        ) from None
    if answer.is_error or not isinstance(data, dict):
        inner = data.get("error") if isinstance(data, dict) else None
        message = inner.get("message") if isinstance(inner, dict) else answer.text[:200]
        raise BackendError(f"{url} answered {answer.status_code}: {message}")
    return data
