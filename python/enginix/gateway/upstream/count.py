"""How many tokens a conversation is for another server: by its own /tokenize, where it has one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson

from enginix.backends.openai import OpenAIBackend, refusal
from enginix.errors import BackendTimedOut, ResourceNotFound
from enginix.gateway.models.registry import RelayedModel
from enginix.gateway.prompt.conversation import Conversation
from enginix.gateway.upstream.question import server_messages

SECONDS = 10.0
MAX_RESPONSE_BYTES = 16 << 20


async def count_prompt(model: RelayedModel, conversation: Conversation, request_id: str) -> int:
    """Raises ResourceNotFound, saying why, for a server that cannot count."""
    server = Server(model.backend, request_id)
    question: dict[str, Any] = {
        "model": model.backend.model,
        "messages": server_messages(model, conversation.messages),
    }
    if conversation.tools:
        question["tools"] = conversation.tools
    try:
        async with asyncio.timeout(SECONDS):
            count = await server.counted(question)
    except TimeoutError:
        raise BackendTimedOut(
            f"{model.backend.name} did not count the tokens within {SECONDS:g} s"
        ) from None
    if count is None:
        raise ResourceNotFound(
            f"{model.name} is served by {model.engine}, which counts no tokens of messages: it has "
            "neither /v1/messages/count_tokens nor a /tokenize that takes them; "
            "the usage of an answer says how many there were",
            code="unsupported_route",
        )
    return count


class Server:
    """The two families of servers that have a /tokenize, told apart by what they answer."""

    def __init__(self, backend: OpenAIBackend, request_id: str) -> None:
        self._backend = backend
        self._request_id = request_id

    async def counted(self, question: Mapping[str, Any]) -> int | None:
        """vLLM's takes messages; llama-server's takes text, and applies its template elsewhere."""
        said = await self._ask("/tokenize", question)
        if said is None:
            return None
        if isinstance(count := said.get("count"), int):
            return count
        rendered = await self._ask("/apply-template", question)
        if rendered is None or not isinstance(prompt := rendered.get("prompt"), str):
            return None
        text = {"content": prompt, "add_special": True, "parse_special": True}
        said = await self._ask("/tokenize", text)
        tokens = said.get("tokens") if said else None
        return len(tokens) if isinstance(tokens, list) else None

    async def _ask(self, path: str, question: Mapping[str, Any]) -> dict[str, Any] | None:
        """The answer; None from a server that has no such route, or takes no such question."""
        async with self._backend.ask(path, orjson.dumps(question), self._request_id) as answer:
            if answer.status in (404, 405, 501):
                return None
            if answer.status != 200:
                raise refusal(self._backend.name, answer.status, await answer.read_error())
            body = await answer.read(MAX_RESPONSE_BYTES)
        try:
            said = orjson.loads(body)
        except orjson.JSONDecodeError:
            return None
        return said if isinstance(said, dict) else None
