"""Which tools of a request the model may call, and which one it must."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from enginix.gateway.api.responses_tools import Toolbox
from enginix.gateway.prompt.parameters import among, check_choice, missing, unsupported
from enginix.gateway.schema.responses import ToolChoice

Functions = tuple[Mapping[str, Any], ...]

# Types of choices that say a tool's name beside them; the others are names themselves.
NAMED = frozenset({"function", "custom"})
NAMELESS = frozenset({"tool_search", "local_shell", "shell", "apply_patch"})


def allowed_calls(
    toolbox: Toolbox, choice: str | ToolChoice | None
) -> tuple[Functions, bool, str | None]:
    """The tools that may be called, whether one must be, and its name if that is given."""
    found: Functions = toolbox.functions
    name = None
    match choice:
        case ToolChoice(type="allowed_tools"):
            # As everywhere: tools that only OpenAI's server can run are skipped.
            allowed = [each for tool in choice.tools or () for each in _called(tool, toolbox)]
            found = among(found, allowed, "tool_choice.tools")
            choice = choice.mode
        case ToolChoice(type=kind) if kind in NAMED:
            if choice.name is None:
                raise missing("tool_choice.name")
            (name,) = _called(choice, toolbox)
        case ToolChoice(type=kind) if kind in NAMELESS:
            name = kind
        case ToolChoice():
            raise unsupported("tool_choice", f"this server has no tool of type {choice.type!r}")
    must_call = name is not None or choice == "required"
    if must_call:
        check_choice(name, [tool["function"]["name"] for tool in found], "tool_choice.name")
    return () if choice == "none" else found, must_call, name


def _called(choice: ToolChoice, toolbox: Toolbox) -> list[str]:
    """The functions that a choice among several names."""
    if choice.type in NAMED:
        return [toolbox.called(choice.name or "", choice.namespace)]
    if choice.type == "namespace":
        return toolbox.in_namespace(choice.name or "")
    return [choice.type] if choice.type in NAMELESS else []
