"""Calls of client-side tools: as items of a response, and back from a request's input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from enginix.gateway.api.custom_input import whole_input
from enginix.gateway.api.responses_tools import ClientTool, Toolbox
from enginix.gateway.http.body import parse_part
from enginix.gateway.prompt.parameters import missing
from enginix.gateway.schema.responses import (
    CallItem,
    Item,
    NamedCallItem,
    PatchOutputItem,
    ShellOutput,
    ShellOutputItem,
)

Fields = dict[str, Any]

# Kind of a tool -> what its items' ids begin with.
PREFIXES = {
    "function": "fc",
    "custom": "ctc",
    "tool_search": "tsc",
    "local_shell": "lsh",
    "shell": "sh",
    "apply_patch": "apc",
}
# Types of items that are calls of tools that have no name of their own -> that name.
NAMELESS = {
    "tool_search_call": "tool_search",
    "local_shell_call": "local_shell",
    "shell_call": "shell",
    "apply_patch_call": "apply_patch",
}
CALLS = frozenset({"function_call", "custom_tool_call", *NAMELESS})
PATCHES = ("create_file", "update_file", "delete_file")


def call_fields(tool: ClientTool | None, called: str, arguments: str) -> Fields | None:
    """What an item says of a call, but for its ids; None for one that was cut and may not be run.

    Arguments that a tool without names of its own cannot take stay what the model wrote: a call of
    the function, which the client refuses.
    """
    kind = tool.kind if tool else "function"
    name = {"name": tool.name if tool else called}
    if tool and tool.namespace:
        name["namespace"] = tool.namespace
    if kind == "custom":
        text = whole_input(arguments)
        return None if text is None else {"type": "custom_tool_call", **name, "input": text}
    plain = {"type": "function_call", **name, "arguments": arguments}
    if kind == "function":
        return plain
    read = _object(arguments)
    return (_nameless(kind, read) if read is not None else None) or plain


def call_message(item: Item, toolbox: Toolbox, where: str) -> Fields:
    """A call from the input as chat templates know calls."""
    if item.type in NAMELESS:
        call = parse_part(item, CallItem, where)
        name, arguments = NAMELESS[item.type], _arguments_of(item.type, call, where)
    else:
        call = parse_part(item, NamedCallItem, where)
        name = toolbox.called(call.name or "", call.namespace)
        arguments = call.arguments or "{}"
        if item.type == "custom_tool_call":
            arguments = {"input": call.input or ""}
    function = {"name": name, "arguments": arguments}
    return {"id": call.call_id or call.id, "type": "function", "function": function}


def shell_output(item: Item, where: str) -> Fields:
    result = parse_part(item, ShellOutputItem, where)
    output = result.output or ""
    text = output if isinstance(output, str) else "\n".join(map(_outcome, output))
    return {"role": "tool", "tool_call_id": result.call_id, "content": text}


def patch_output(item: Item, where: str) -> Fields:
    result = parse_part(item, PatchOutputItem, where)
    text = result.output or result.status or ""
    return {"role": "tool", "tool_call_id": result.call_id, "content": text}


def _nameless(kind: str, arguments: Fields) -> Fields | None:
    action: Fields
    match kind, arguments:
        case "tool_search", {}:
            return {"type": "tool_search_call", "execution": "client", "arguments": arguments}
        case "local_shell", {"command": [*command]} if _texts(command):
            action = {
                "type": "exec",
                "command": command,
                "env": {},
                "timeout_ms": arguments.get("timeout_ms"),
                "user": None,
                "working_directory": arguments.get("working_directory"),
            }
            return {"type": "local_shell_call", "action": action}
        case "shell", {"commands": [*commands]} if _texts(commands):
            action = {
                "commands": commands,
                "timeout_ms": arguments.get("timeout_ms"),
                "max_output_length": arguments.get("max_output_length"),
            }
            return {"type": "shell_call", "action": action, "environment": {"type": "local"}}
        case "apply_patch", {"type": str(what), "path": str(path)} if what in PATCHES:
            operation: Fields = {"type": what, "path": path}
            if what != "delete_file":
                if not isinstance(arguments.get("diff"), str):
                    return None
                operation["diff"] = arguments["diff"]
            return {"type": "apply_patch_call", "operation": operation}
    return None


def _arguments_of(type: str, call: CallItem, where: str) -> Any:
    if type == "tool_search_call":
        return call.arguments if call.arguments is not None else {}
    field = "operation" if type == "apply_patch_call" else "action"
    fields: Mapping[str, Any] | None = getattr(call, field)
    if fields is None:
        raise missing(f"{where}.{field}")
    arguments = {name: value for name, value in fields.items() if value is not None}
    if type == "local_shell_call":
        # Do not add fields that the client left out.
        arguments.pop("type", None)
        if not arguments.get("env"):
            arguments.pop("env", None)
    return arguments


def _outcome(output: ShellOutput) -> str:
    texts = [text.rstrip("\n") for text in (output.stdout, output.stderr) if text]
    code = output.outcome.get("exit_code")
    if output.outcome.get("type") == "timeout":
        texts.append("[timed out]")
    elif code:
        texts.append(f"[exit code {code}]")
    return "\n".join(texts)


def _object(arguments: str) -> Fields | None:
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _texts(values: list[Any]) -> bool:
    return bool(values) and all(isinstance(value, str) for value in values)
