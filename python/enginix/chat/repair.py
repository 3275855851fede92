"""Adapts a conversation to the rules of a chat template that rejected it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from enginix.chat.messages import Message, text_parts


def repaired(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """Yield equivalent versions, each further from what the client sent."""
    if any("tool_calls" in message for message in messages):
        # A few templates, DeepSeek's among them, concatenate arguments as text.
        yield [_with_arguments_as_text(message) for message in messages]
    gathered = _merge_neighbours(_systems_first(messages))
    if gathered != messages:
        yield gathered
    if gathered[0]["role"] == "system":
        # Gemma and the first Llamas have no system role.
        yield _merge_neighbours([{**gathered[0], "role": "user"}, *gathered[1:]])


def _with_arguments_as_text(message: Message) -> Message:
    if "tool_calls" not in message:
        return message
    return {**message, "tool_calls": [_with_text(call) for call in message["tool_calls"]]}


def _with_text(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, dict) or isinstance(function.get("arguments"), str):
        return call
    arguments = json.dumps(function.get("arguments"), ensure_ascii=False)
    return {**call, "function": {**function, "arguments": arguments}}


def _systems_first(messages: Sequence[Message]) -> list[Message]:
    return sorted(messages, key=lambda message: message["role"] != "system")


def _merge_neighbours(messages: Sequence[Message]) -> list[Message]:
    merged: list[Message] = []
    for message in messages:
        role = message["role"]
        if merged and role in ("system", "user", "assistant") and merged[-1]["role"] == role:
            merged[-1] = _merge(merged[-1], message)
        else:
            merged.append(message)
    return merged


def _merge(first: Message, second: Message) -> Message:
    both = {**first, **second, "content": _joined(first["content"], second["content"])}
    if calls := [*first.get("tool_calls", []), *second.get("tool_calls", [])]:
        both["tool_calls"] = calls
    return both


def _joined(first: Any, second: Any) -> str | list[Message]:
    contents = [content for content in (first, second) if content]
    if not any(isinstance(content, list) for content in contents):
        return "\n\n".join(contents)
    lists = [text_parts(each) if isinstance(each, str) else each for each in contents]
    return lists[0] if len(lists) == 1 else [*lists[0], *text_parts("\n\n"), *lists[1]]
