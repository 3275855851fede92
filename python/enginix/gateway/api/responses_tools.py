"""The tools of a response's request that the client runs, as functions that a model can call.

A function of a namespace gets both names in one; a tool that takes a text gets a function of one
`input`; the shells and the patch tool, which clients declare by their type alone, get the arguments
that their calls have. `Toolbox` finds the way back. What OpenAI's servers would run is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from enginix.gateway.http.body import parse_part
from enginix.gateway.schema import chat
from enginix.gateway.schema.responses import (
    NamespaceTool,
    SearchTool,
    ShellTool,
    Tool,
)

Kind = Literal["function", "custom", "tool_search", "local_shell", "shell", "apply_patch"]
Function = dict[str, Any]

TEXT = {"type": "string"}
STRINGS = {"type": "array", "items": TEXT}
NUMBER = {"type": "integer"}
# Type -> what it is for, and the arguments that its calls have.
KNOWN: dict[Kind, tuple[str, dict[str, Any]]] = {
    "tool_search": (
        "Finds tools by what they are for; those it finds can be called afterwards.",
        {"type": "object", "properties": {"query": TEXT, "limit": NUMBER}, "required": ["query"]},
    ),
    "local_shell": (
        "Runs a program with its arguments on the user's machine.",
        {
            "type": "object",
            "properties": {"command": STRINGS, "working_directory": TEXT, "timeout_ms": NUMBER},
            "required": ["command"],
        },
    ),
    "shell": (
        "Runs commands in a shell on the user's machine.",
        {
            "type": "object",
            "properties": {"commands": STRINGS, "timeout_ms": NUMBER, "max_output_length": NUMBER},
            "required": ["commands"],
        },
    ),
    "apply_patch": (
        "Creates, updates or deletes one file; diff is in the V4A format and left out to delete.",
        {
            "type": "object",
            "properties": {
                "type": {"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
                "path": TEXT,
                "diff": TEXT,
            },
            "required": ["type", "path"],
        },
    ),
}
INPUT = {"type": "object", "properties": {"input": TEXT}, "required": ["input"]}


@dataclass(frozen=True, slots=True)
class ClientTool:
    """A tool as the client knows it, and the function that the model is shown."""

    kind: Kind
    name: str
    namespace: str | None
    called: str
    """The function's name."""
    description: str | None
    parameters: Mapping[str, Any]
    strict: bool = False

    @property
    def function(self) -> Function:
        named: Function = {"name": self.called}
        if self.description is not None:
            named["description"] = self.description
        if self.strict:
            named["strict"] = True
        return {"type": "function", "function": {**named, "parameters": self.parameters}}


class Toolbox:
    """A request's tools by the names that the model calls them by."""

    def __init__(self, tools: Iterable[ClientTool] = ()) -> None:
        self._tools: dict[str, ClientTool] = {}
        for tool in tools:
            # Of a tool that was declared twice, the last declaration counts.
            self._tools[tool.called] = tool

    @property
    def functions(self) -> tuple[Function, ...]:
        return tuple(tool.function for tool in self._tools.values())

    def find(self, called: str) -> ClientTool | None:
        """The tool of a call; a model may omit the namespace if the name is unique without it."""
        if called in self._tools:
            return self._tools[called]
        found = [tool for tool in self._tools.values() if tool.name == called]
        return found[0] if len(found) == 1 else None

    def called(self, name: str, namespace: str | None = None) -> str:
        """What the model calls the client's tool, which may not be among this request's."""
        if namespace:
            return flat_name(namespace, name)
        tool = self.find(name)
        return tool.called if tool else name

    def in_namespace(self, namespace: str) -> list[str]:
        return [tool.called for tool in self._tools.values() if tool.namespace == namespace]


def toolbox(tools: Sequence[tuple[str, Tool]]) -> Toolbox:
    """`tools`: each with its path in the request."""
    return Toolbox(found for where, tool in tools for found in client_tools(tool, where))


def client_tools(tool: Tool, where: str, namespace: str | None = None) -> list[ClientTool]:
    """The functions that a declared tool stands for; none if the client does not run it."""
    match tool.type:
        case "function":
            declared = parse_part(tool, chat.Function, where)
            schema = declared.parameters or {"type": "object", "properties": {}}
            found = _tool("function", declared.name, namespace, declared.description, schema)
            return [replace(found, strict=bool(declared.strict))]
        case "custom":
            custom = parse_part(tool, chat.Custom, where)
            text = described(custom.description, custom.format)
            return [_tool("custom", custom.name, namespace, text, INPUT)]
        case "namespace":
            space = parse_part(tool, NamespaceTool, where)
            inner = [
                client_tools(each, f"{where}.tools[{place}]", space.name)
                for place, each in enumerate(space.tools)
                if each.type in ("function", "custom")
            ]
            return [found for tools in inner for found in tools]
        case "tool_search":
            search = parse_part(tool, SearchTool, where)
            if search.execution != "client":
                # There is nothing to search: a tool whose loading is deferred is there already.
                return []
            text, schema = KNOWN["tool_search"]
            text, schema = search.description or text, search.parameters or schema
            return [_tool("tool_search", "tool_search", None, text, schema)]
        case "shell":
            environment = parse_part(tool, ShellTool, where).environment or {}
            return [_known("shell")] if environment.get("type", "local") == "local" else []
        case "local_shell" | "apply_patch":
            return [_known(tool.type)]
    return []


def flat_name(namespace: str, name: str) -> str:
    """Both names joined to one that every chat template and tool format accepts."""
    return f"{namespace}{'' if namespace.endswith('__') else '__'}{name}"


def described(description: str | None, format: Mapping[str, Any] | None) -> str | None:
    """A custom tool's description, with the grammar of its input if it has one."""
    inner = format.get("grammar") if format else None
    grammar = inner if isinstance(inner, Mapping) else format or {}
    definition = grammar.get("definition")
    if not isinstance(definition, str):
        return description
    syntax = grammar.get("syntax", "")
    rule = f"The input follows this {syntax} grammar:\n{definition}"
    return f"{description}\n\n{rule}" if description else rule


def _known(kind: Kind) -> ClientTool:
    return _tool(kind, kind, None, *KNOWN[kind])


def _tool(
    kind: Kind,
    name: str,
    namespace: str | None,
    description: str | None,
    parameters: Mapping[str, Any],
) -> ClientTool:
    called = flat_name(namespace, name) if namespace else name
    return ClientTool(kind, name, namespace, called, description, parameters)
