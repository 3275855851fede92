"""Counts a conversation's tokens with the server's own /tokenize, if it has one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson

from enginix.backends.openai.server import OpenAIBackend, refusal
from enginix.errors import BackendTimedOut
from enginix.generation.request import Origin

SECONDS = 10.0
MAX_RESPONSE_BYTES = 16 << 20


async def count_tokens(
    server: OpenAIBackend, chat: Mapping[str, Any], request_id: str
) -> int | None:
    """The prompt tokens of a chat completion; None if the server cannot count them."""
    try:
        async with asyncio.timeout(SECONDS):
            return await _counted(server, chat, request_id)
    except TimeoutError:
        raise BackendTimedOut(
            f"{server.name} did not count the tokens within {SECONDS:g} s"
        ) from None


async def _counted(server: OpenAIBackend, chat: Mapping[str, Any], request_id: str) -> int | None:
    """vLLM's route takes messages; llama-server's takes text, and another applies the template."""
    counted = await _ask(server, "/tokenize", chat, request_id)
    if counted is None:
        return None
    if isinstance(count := counted.get("count"), int):
        return count
    rendered = await _ask(server, "/apply-template", chat, request_id)
    if rendered is None or not isinstance(prompt := rendered.get("prompt"), str):
        return None
    text = {"content": prompt, "add_special": True, "parse_special": True}
    counted = await _ask(server, "/tokenize", text, request_id)
    tokens = counted.get("tokens") if counted else None
    return len(tokens) if isinstance(tokens, list) else None


async def _ask(
    server: OpenAIBackend, path: str, body: Mapping[str, Any], request_id: str
) -> dict[str, Any] | None:
    """The reply; None if the server lacks the route, or refuses such a body."""
    async with server.ask(path, orjson.dumps(body), Origin(request_id)) as response:
        if response.status in (404, 405, 501):
            return None
        if response.status != 200:
            raise refusal(server.name, response.status, await response.read_error())
        reply = await response.read(MAX_RESPONSE_BYTES)
    try:
        document = orjson.loads(reply)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None
