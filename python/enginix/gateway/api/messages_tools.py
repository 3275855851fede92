"""The tools of Anthropic's dialect as functions: the client's own, and those with known schemas.

Tools that Anthropic's servers would run are skipped: nothing here can run them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from enginix.gateway.http.body import parse_part
from enginix.gateway.schema.messages import FunctionTool, Tool


def _object(required: Sequence[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def _one_of(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(values)}


TEXT = {"type": "string"}
NUMBER = {"type": "integer"}
LINES = {"type": "array", "items": NUMBER}
EDITS = {
    "path": TEXT,
    "file_text": TEXT,
    "old_str": TEXT,
    "new_str": TEXT,
    "insert_line": NUMBER,
    "insert_text": TEXT,
    "view_range": LINES,
}

# Beginning of the type -> what the tool is for, and its arguments. Models of Anthropic's know these
# by heart and clients run them, so they are declared without either.
KNOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "bash_": (
        "Runs a command in a shell that stays open; restart begins a new one.",
        _object([], command=TEXT, restart={"type": "boolean"}),
    ),
    "text_editor_": (
        "Views, creates and edits text files.",
        _object(
            ["command", "path"],
            command=_one_of("view", "create", "str_replace", "insert", "undo_edit"),
            **EDITS,
        ),
    ),
    "memory_": (
        "Keeps notes in files under /memories, which stay from one conversation to the next.",
        _object(
            ["command"],
            command=_one_of("view", "create", "str_replace", "insert", "delete", "rename"),
            **EDITS,
            old_path=TEXT,
            new_path=TEXT,
        ),
    ),
}


def function_tools(tools: Sequence[Tool] | None) -> list[dict[str, Any]]:
    """The tools that a model may call here, as chat templates know them."""
    found = []
    for place, tool in enumerate(tools or ()):
        if tool.type in (None, "custom"):
            found.append(_function(parse_part(tool, FunctionTool, f"tools[{place}]")))
        elif known := next((KNOWN[kind] for kind in KNOWN if tool.type.startswith(kind)), None):
            description, schema = known
            name = str((tool.model_extra or {}).get("name") or tool.type.rpartition("_")[0])
            plain = FunctionTool(name=name, description=description, input_schema=schema)
            found.append(_function(plain))
    return found


def _function(tool: FunctionTool) -> dict[str, Any]:
    """The order of the fields is the one that models were trained on."""
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = tool.input_schema or {"type": "object", "properties": {}}
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}
