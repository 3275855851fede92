"""Converts the messages and tools of chat completions to those that chat templates know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from enginix.gateway.api.responses_tools import INPUT, described
from enginix.gateway.prompt.billing import without_billing_in
from enginix.gateway.prompt.chat_request import server_call
from enginix.gateway.prompt.images import readable
from enginix.gateway.schema.chat import ChatMessage, CustomTool, FunctionTool

Plain = dict[str, Any]


def plain_messages(messages: Sequence[ChatMessage]) -> list[Plain]:
    """The messages as chat templates read them, for a model that reads text."""
    return readable([_message(message) for message in messages])


def functions(tools: Sequence[FunctionTool | CustomTool] | None) -> tuple[Mapping[str, Any], ...]:
    """The tools as functions; the model sees a custom tool as a function with one input."""
    return tuple(
        _custom(tool) if isinstance(tool, CustomTool) else tool.model_dump(exclude_unset=True)
        for tool in tools or ()
    )


def with_functions_only(messages: Any) -> Any:
    """Messages as they were sent, but for calls of custom tools, which few servers know."""
    if not isinstance(messages, list):
        return messages
    return [
        {**message, "tool_calls": [server_call(_call(dict(call))) for call in calls]}
        if isinstance(message, dict) and (calls := message.get("tool_calls"))
        else message
        for message in messages
    ]


def _custom(tool: CustomTool) -> Plain:
    custom = tool.custom
    function: Plain = {"name": custom.name}
    if description := described(custom.description, custom.format):
        function["description"] = description
    return {"type": "function", "function": {**function, "parameters": INPUT}}


def _message(message: ChatMessage) -> Plain:
    plain = message.model_dump(exclude_unset=True)
    if plain["role"] in ("system", "developer") and "content" in plain:
        plain["content"] = without_billing_in(plain["content"])
    if calls := plain.get("tool_calls"):
        plain["tool_calls"] = [_call(call) for call in calls]
    return plain


def _call(call: Plain) -> Plain:
    custom = call.pop("custom", None)
    if not isinstance(custom, dict):
        return call
    function = {"name": custom["name"], "arguments": {"input": custom.get("input") or ""}}
    return {**call, "type": "function", "function": function}
