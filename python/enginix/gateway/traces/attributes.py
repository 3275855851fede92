"""What a request's span says, in the terms of OpenTelemetry's conventions for HTTP and GenAI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from enginix.backends.openai.sse import documents
from enginix.gateway.models.record import RequestRecord

Attributes = dict[str, Any]

# The paths that are traced -> gen_ai.operation.name.
OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "chat",
    "/v1/messages": "chat",
    "/v1/completions": "text_completion",
    "/api/v1/inference/stream": "text_completion",
    "/v1/embeddings": "embeddings",
    "/v1/rerank": "rerank",
    "/v2/rerank": "rerank",
    "/rerank": "rerank",
}
# Attribute -> its type, and the dialects' names of the parameter.
NUMBERS: dict[str, tuple[type[int] | type[float], tuple[str, ...]]] = {
    "max_tokens": (int, ("max_completion_tokens", "max_tokens", "max_output_tokens")),
    "temperature": (float, ("temperature",)),
    "top_p": (float, ("top_p",)),
    "top_k": (float, ("top_k",)),
    "frequency_penalty": (float, ("frequency_penalty",)),
    "presence_penalty": (float, ("presence_penalty",)),
    "seed": (int, ("seed",)),
    "choice.count": (int, ("n",)),
}
# What OTLP has room for in an integer: one that is larger would lose its whole batch.
MAX_INT64 = 2**63 - 1
# Names and prompts come from clients, and spans wait in memory.
NAME_CHARS = 256
PROMPT_CHARS = 16_384
# At least so many characters are used up by a part of a message.
MIN_PART = 16


def request_attributes(path: str, body: Any) -> Attributes:
    """Of a body that may have any form: it is not checked yet."""
    if not isinstance(body, Mapping):
        return {}
    found: Attributes = {}
    model = body.get("model", body.get("modelId"))
    if isinstance(model, str):
        found["gen_ai.request.model"] = model[:NAME_CHARS]
    if body.get("stream", path.endswith("/stream")) is True:
        found["gen_ai.request.stream"] = True
    for name, (kind, params) in NUMBERS.items():
        value = next((body[param] for param in params if body.get(param) is not None), None)
        if isinstance(value, int | float) and abs(value) <= MAX_INT64:
            found[f"gen_ai.request.{name}"] = kind(value)
    return found


def reply_attributes(record: RequestRecord, *, streams: bool) -> Attributes:
    """Of a request that has ended."""
    found = {
        "http.response.status_code": record.status or None,
        "error.type": error_type(record),
        "enginix.request_id": record.id,
        "enginix.key": record.key.name if record.key else None,
        "gen_ai.response.model": record.model,
        "gen_ai.response.id": record.reply_id,
        "gen_ai.response.finish_reasons": record.finish_reasons or None,
        "gen_ai.response.time_to_first_chunk": record.first_token if streams else None,
        "gen_ai.usage.input_tokens": record.prompt_tokens or None,
        "gen_ai.usage.output_tokens": record.completion_tokens or None,
        "gen_ai.usage.cache_read.input_tokens": record.cached_tokens,
    }
    return {name: value for name, value in found.items() if value is not None}


def error_type(record: RequestRecord) -> str | None:
    if record.client_left:
        return "ClientDisconnect"
    return record.error or (str(record.status) if record.status >= 400 else None)


def has_failed(record: RequestRecord) -> bool:
    """Whether the request failed here: not by a mistake of its client, who did not leave either."""
    if record.client_left:
        return False
    # After its first byte a reply keeps its status.
    return record.status >= 500 or (record.error is not None and record.status < 400)


def passed_attributes(body: bytes) -> Attributes:
    """Of a reply of another server: a document, or the first and the last events of a stream."""
    identity: str | None = None
    reasons: dict[str, str] = {}
    for document in documents(body):
        if not isinstance(document, Mapping):
            continue
        for holder in (document, document.get("response"), document.get("message")):
            if isinstance(holder, Mapping) and isinstance(holder.get("id"), str):
                identity = identity or holder["id"]
        reasons |= _reasons(document)
    found = {
        "gen_ai.response.id": identity and identity[:NAME_CHARS],
        "gen_ai.response.finish_reasons": list(reasons.values()) or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _reasons(document: Mapping[str, Any]) -> dict[str, str]:
    """Of each choice, by its index; other dialects have one."""
    choices = document.get("choices")
    found = {
        str(choice.get("index")): choice.get("finish_reason")
        for choice in (choices if isinstance(choices, list) else ())
        if isinstance(choice, Mapping)
    }
    for holder in (document, document.get("delta")):
        if isinstance(holder, Mapping) and "stop_reason" in holder:
            found[""] = holder["stop_reason"]
    return {
        choice: reason[:NAME_CHARS] for choice, reason in found.items() if isinstance(reason, str)
    }


def prompt_attributes(body: Any) -> Attributes:
    """The newest messages of a request, in the conventions' form; texts are cut."""
    if not isinstance(body, Mapping):
        return {}
    asked = body.get("messages") or body.get("input") or body.get("prompt")
    if isinstance(asked, str):
        asked = [{"role": "user", "content": asked}]
    messages: list[Attributes] = []
    left = PROMPT_CHARS
    for message in reversed(asked if isinstance(asked, list) else ()):
        if left <= 0:
            break
        if isinstance(message, str):
            message = {"role": "user", "content": message}
        if isinstance(message, Mapping):
            parts = list(_parts(message.get("content"), left))
            left -= len(orjson.dumps(parts))
            messages.insert(0, {"role": str(message.get("role", "user"))[:9], "parts": parts})
    if not messages:
        return {}
    return {"gen_ai.input.messages": orjson.dumps(messages).decode()}


def _parts(content: Any, room: int) -> Iterator[Attributes]:
    if isinstance(content, str):
        content = [{"text": content}]
    for part in content if isinstance(content, list) else ():
        if room <= 0:
            return
        text = part.get("text") if isinstance(part, Mapping) else None
        if isinstance(text, str):
            yield {"type": "text", "content": text[:room]}
            room -= len(text)
        elif isinstance(part, Mapping):
            yield {"type": str(part.get("type"))[:NAME_CHARS]}
        room -= MIN_PART
