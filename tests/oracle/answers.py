"""Which shapes the answer to a request has: by its path, and whether it is a stream."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.oracle.shapes import faults, shapes

# Path -> the shape of a whole answer and of a stream's events; None for those named by their type.
ROUTES: tuple[tuple[str, str, str, str | None], ...] = (
    ("POST", "/v1/chat/completions", "ChatCompletion", "ChatCompletionChunk"),
    ("POST", "/v1/completions", "Completion", "CompletionChunk"),
    ("POST", "/v1/responses", "Response", None),
    ("POST", "/v1/responses/input_tokens", "InputTokenCount", None),
    ("GET", "/v1/responses/[^/]+", "Response", None),
    ("POST", "/v1/messages", "Message", None),
    ("POST", "/v1/messages/count_tokens", "MessageTokensCount", None),
    ("GET", "/v1/models", "ModelList", None),
    ("GET", "/v1/models/.+", "Model", None),
)
# How the ids begin that the gateway gives; another server's answers keep theirs.
OUR_ID = re.compile(r"(chatcmpl-|cmpl-|resp_|msg_)[0-9a-f]{32}")
LAST_EVENTS = {
    "/v1/messages": ("message_stop", "error"),
    "/v1/responses": ("response.completed", "response.incomplete", "response.failed", "error"),
}


def answer_faults(
    method: str, path: str, status: int, kind: str, body: bytes, *, whole: bool, ours: bool
) -> list[str]:
    """The errors of an answer; `whole`: it was read completely; `ours`: not passed through."""
    path = path.split("?")[0]
    if status >= 400 and method in ("GET", "POST", "DELETE"):
        return _error_faults(path, body) if ours and body and path.startswith("/v1/") else []
    for route_method, pattern, shape, event_shape in ROUTES:
        if method == route_method and re.fullmatch(pattern, path):
            if kind.startswith("text/event-stream"):
                return _stream_faults(path, event_shape, body, whole=whole, ours=ours)
            if not whole:
                return []
            document = _json(body)
            return faults(document, shape) if ours or _is_ours(document) else []
    return []


def _error_faults(path: str, body: bytes) -> list[str]:
    anthropic = path == "/v1/messages" or path.startswith("/v1/messages/")
    return faults(_json(body), "AnthropicError" if anthropic else "OpenAIError")


def _stream_faults(
    path: str, shape: str | None, body: bytes, *, whole: bool, ours: bool
) -> list[str]:
    # What comes after the last empty line is an event that was cut.
    events = [_fields(block) for block in body.decode().split("\n\n")[:-1]]
    named = [(name, data) for name, data in events if data]
    values = [None if data == "[DONE]" else _json(data.encode()) for _, data in named]
    if not (ours or any(_is_ours(value) for value in values)):
        return []
    found = []
    for number, ((name, _), value) in enumerate(zip(named, values, strict=True)):
        found += _event_faults(path, shape, name, value, f"event {number}")
    return found + _order_faults(path, values, whole=whole)


def _event_faults(path: str, shape: str | None, name: str, value: Any, where: str) -> list[str]:
    if value is None:
        return [] if shape else [f"{where}: [DONE] ends streams of chunks only"]
    if shape:
        return faults(value, "OpenAIError" if "error" in value else shape, where)
    if name != value.get("type"):
        return [f"{where}: it is named {name!r} and of type {value.get('type')!r}"]
    if path == "/v1/messages" and name == "error":
        return faults(value, "AnthropicError", where)
    if name not in shapes():
        return [f"{where}: no shape is known for {name!r}"]
    return faults(value, name, where)


def _order_faults(path: str, values: list[Any], *, whole: bool) -> list[str]:
    found = []
    numbers = [value["sequence_number"] for value in values if value and "sequence_number" in value]
    if numbers != list(range(len(numbers))):
        found.append(f"the events are numbered {numbers}")
    ids = {value["id"] for value in values if value and "id" in value}
    if len(ids) > 1:
        found.append(f"one stream has the ids {sorted(ids)}")
    if not whole or not values:
        return found
    last = values[-1]
    if path in LAST_EVENTS:
        if last is None or last.get("type") not in LAST_EVENTS[path]:
            found.append(f"the last event is {last}")
    elif last is not None and "error" not in last:
        found.append(f"the last event is neither [DONE] nor an error: {last}")
    return found


def _fields(block: str) -> tuple[str, str]:
    """An event's name and data; comments have neither."""
    fields: dict[str, str] = {}
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        fields[name] = value.removeprefix(" ")
    return fields.get("event", ""), fields.get("data", "")


def _is_ours(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    held = [value, value.get("response"), value.get("message")]
    ids = [str(one.get("id")) for one in held if isinstance(one, dict)]
    return any(OUR_ID.fullmatch(id) for id in ids)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return f"no JSON: {body[:80]!r}"
