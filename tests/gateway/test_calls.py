"""Arguments that are missing or not an object become an object in every dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gateway.either_way import ask, everywhere
from gateway.harness import user

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
CHAT = "/v1/chat/completions"
ASKED: dict[str, dict[str, Any]] = {
    CHAT: {
        "messages": user("Hi"),
        "tools": [{"type": "function", "function": {"name": "f", "parameters": PARAMETERS}}],
    },
    "/v1/messages": {
        "messages": user("Hi"),
        "tools": [{"name": "f", "input_schema": PARAMETERS}],
    },
    "/v1/responses": {
        "input": "Hi",
        "tools": [{"type": "function", "name": "f", "parameters": PARAMETERS}],
    },
}


def whole_arguments(path: str, whole: Any) -> Any:
    if path == CHAT:
        return json.loads(whole["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"])
    if path == "/v1/messages":
        return whole["content"][0]["input"]
    return json.loads(whole["output"][0]["arguments"])


def streamed_arguments(path: str, seen: list[Any]) -> Any:
    texts = []
    for event in seen:
        if path == CHAT:
            choices = event["choices"] if isinstance(event, dict) else []
            calls = [call for each in choices for call in each["delta"].get("tool_calls", ())]
            texts += [call["function"]["arguments"] for call in calls]
        elif path == "/v1/messages":
            texts.append(event.get("delta", {}).get("partial_json", ""))
        elif event["type"] == "response.function_call_arguments.delta":
            texts.append(event["delta"])
    return json.loads("".join(texts))


@everywhere
@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize(
    ("body", "arguments"),
    [
        ('{"name": "f"}', {}),
        ('{"name": "f", "arguments": ""}', {}),
        ('{"name": "f", "arguments": null}', {}),
        ('{"name": "f", "arguments": ["Paris"]}', {"": ["Paris"]}),
        ('{"name": "f", "arguments": "Paris"}', {"": "Paris"}),
        ('{"name": "f", "arguments": "{\\"city\\": \\"Paris\\"}"}', {"city": "Paris"}),
    ],
)
async def test_arguments_are_the_same_with_and_without_streaming(
    body: str, arguments: object, path: str, theirs: bool
) -> None:
    said = f"<tool_call>{body}</tool_call>"
    whole = await ask(path, ASKED[path], said, theirs=theirs)
    seen = await ask(path, {**ASKED[path], "stream": True}, said, theirs=theirs)
    assert whole_arguments(path, whole) == arguments
    assert streamed_arguments(path, seen) == arguments
