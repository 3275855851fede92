"""Streams one answer of a chat completion from a server of the OpenAI API."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import httpx

from enginix.backends.openai.server import error_message
from enginix.backends.openai.sse import EventReader, documents
from enginix.cli.ask_gateway import authorization
from enginix.errors import BackendError, BackendUnavailable


async def stream_chat(
    url: str, body: Mapping[str, Any], silence_seconds: float
) -> AsyncGenerator[tuple[str, str], None]:
    """Yield ("reasoning" or "content", text) as it arrives, and last ("finish", its reason).

    `url` is the gateway's, `silence_seconds` the longest wait for its next byte. Closing the
    generator disconnects, and the gateway then stops generating.
    """
    try:
        async with (
            httpx.AsyncClient(
                timeout=silence_seconds, trust_env=False, headers=authorization(url)
            ) as client,
            client.stream(
                "POST", f"{url}/v1/chat/completions", json={**body, "stream": True}
            ) as response,
        ):
            if response.status_code != httpx.codes.OK:
                why = error_message(await response.aread())
                raise BackendError(f"{url} answered {response.status_code}: {why}")
            reader = EventReader()
            async for chunk in response.aiter_bytes():
                for event in documents(reader.feed(chunk)):
                    for found in _texts(url, event):
                        yield found
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise BackendUnavailable(f"{url}: {str(error) or type(error).__name__}") from None


def _texts(url: str, event: dict[str, Any]) -> list[tuple[str, str]]:
    if error := event.get("error"):
        raise BackendError(f"{url} broke off: {error['message']}")
    found = []
    for choice in event["choices"]:
        delta = choice.get("delta") or {}
        # OpenAI has no field for reasoning; servers disagree.
        found.append(("reasoning", delta.get("reasoning_content") or delta.get("reasoning")))
        found += [("content", delta.get("content")), ("finish", choice.get("finish_reason"))]
    return [(kind, text) for kind, text in found if text]
