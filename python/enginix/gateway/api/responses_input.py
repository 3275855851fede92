"""From the items of a response's input to the messages and tools that chat templates know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from enginix.errors import RequestError
from enginix.gateway.parameters import among, check_choice, missing, unsupported
from enginix.gateway.schema.responses import Item, Part, Tool, ToolChoice

Message = dict[str, Any]

READABLE = frozenset(
    {"input_text", "output_text", "text", "refusal", "reasoning_text", "summary_text"}
)
CALLS = frozenset({"function_call", "custom_tool_call"})
RESULTS = frozenset({"function_call_output", "custom_tool_call_output"})


def messages_of(items: str | Sequence[Item], *, images: bool = False) -> list[Message]:
    """What was said so far. Items of tools that only OpenAI's server has are passed over.

    `images`: whoever reads the messages reads them, too.
    """
    if isinstance(items, str):
        return [{"role": "user", "content": items}] if items else []
    messages: list[Message] = []
    for place, item in enumerate(items):
        where = f"input[{place}]"
        if item.type == "message":
            _add_message(item, messages, where, images=images)
        elif item.type == "reasoning":
            thought = _text(item.content or item.summary, f"{where}.content")
            _assistants_turn(messages)["reasoning_content"] = thought
        elif item.type in CALLS:
            _assistants_turn(messages).setdefault("tool_calls", []).append(_call(item, where))
        elif item.type in RESULTS:
            messages.append(_result(item, where))
        elif item.type == "item_reference":
            raise RequestError(
                f"{where}: references to stored items are not kept here; send the item itself",
                param=where,
                code="unsupported_parameter",
            )
    return messages


def function_tools(tools: Sequence[Tool] | None) -> list[Mapping[str, Any]]:
    """The tools a model can call here; others' types are passed over, as clients expect."""
    found: list[Mapping[str, Any]] = []
    for place, tool in enumerate(tools or ()):
        if tool.type != "function":
            continue
        if not tool.name:
            raise missing(f"tools[{place}].name")
        parameters = tool.parameters or {"type": "object", "properties": {}}
        function: dict[str, Any] = {"name": tool.name}
        if tool.description is not None:
            function["description"] = tool.description
        if tool.strict:
            function["strict"] = True
        found.append({"type": "function", "function": {**function, "parameters": parameters}})
    return found


def wanted_calls(
    tools: Sequence[Tool] | None, choice: str | ToolChoice | None
) -> tuple[tuple[Mapping[str, Any], ...], bool, str | None]:
    """The tools that may be called, whether one must be, and its name if that is given."""
    found, name = tuple(function_tools(tools)), None
    match choice:
        case ToolChoice(type="allowed_tools"):
            # As everywhere: what only OpenAI's server can call is passed over.
            named = [tool for tool in choice.tools or () if tool.type == "function"]
            found = among(found, [tool.name or "" for tool in named], "tool_choice.tools")
            choice = choice.mode
        case ToolChoice(type="function"):
            name = choice.name
            if name is None:
                raise missing("tool_choice.name")
        case ToolChoice():
            raise unsupported("tool_choice", f"this server has no tool of type {choice.type!r}")
    must_call = name is not None or choice == "required"
    if must_call:
        check_choice(name, [tool["function"]["name"] for tool in found], "tool_choice.name")
    return () if choice == "none" else found, must_call, name


def _add_message(item: Item, messages: list[Message], where: str, *, images: bool) -> None:
    if item.role is None:
        raise missing(f"{where}.role")
    if images and isinstance(item.content, list) and has_image(item.content):
        parts = [_chat_part(part, f"{where}.content[{n}]") for n, part in enumerate(item.content)]
        messages.append({"role": item.role, "content": parts})
        return
    text = _text(item.content, f"{where}.content")
    if item.role != "assistant":
        messages.append({"role": item.role, "content": text})
        return
    turn = _assistants_turn(messages)
    if turn["content"] or turn.get("tool_calls"):
        turn = {"role": "assistant", "content": ""}
        messages.append(turn)
    turn["content"] = text


def _assistants_turn(messages: list[Message]) -> Message:
    """The assistant's message at the end, where its reasoning, words and calls belong together."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": ""})
    return messages[-1]


def _call(item: Item, where: str) -> dict[str, Any]:
    if not item.name:
        raise missing(f"{where}.name")
    arguments: Any = item.arguments or "{}"
    if item.type == "custom_tool_call":
        arguments = {"input": item.input or ""}
    function = {"name": item.name, "arguments": arguments}
    return {"id": item.call_id, "type": "function", "function": function}


def _result(item: Item, where: str) -> Message:
    text = _text(item.output, f"{where}.output")
    return {"role": "tool", "tool_call_id": item.call_id, "content": text}


def has_image(content: Sequence[Part]) -> bool:
    return any(part.type == "input_image" for part in content)


def _chat_part(part: Part, where: str) -> dict[str, Any]:
    if part.type != "input_image":
        return {"type": "text", "text": _text([part], where)}
    if part.image_url is None:
        raise missing(f"{where}.image_url")
    return {"type": "image_url", "image_url": {"url": part.image_url}}


def _text(content: str | Sequence[Part] | None, where: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    for place, part in enumerate(content):
        if part.type not in READABLE:
            raise RequestError(
                f"{where}[{place}]: this model reads text, got a part of type {part.type!r}",
                param=f"{where}[{place}].type",
                code="unsupported_content",
            )
    return "\n".join(part.text or part.refusal or "" for part in content)
