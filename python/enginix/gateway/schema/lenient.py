"""Translates spellings that clients carry over from another dialect.

Each function takes any value and returns it unchanged or respelled; the schema validates it
afterwards.
"""

from __future__ import annotations

from typing import Any

# Values of tool_choice -> OpenAI's value.
CHOICES = {"auto": "auto", "none": "none", "required": "required", "any": "required"}
ANTHROPIC_CHOICES = {**{word: word for word in ("auto", "any", "none")}, "required": "any"}
NAMED = ("function", "tool", "custom")


def chat_choice(choice: Any) -> Any:
    """`tool_choice` of chat completions: a string, or a named tool inside its type's own field."""
    if (word := _choice_name(choice)) is not None:
        return CHOICES[word]
    if not isinstance(choice, dict):
        return choice
    kind = choice.get("type", "function" if "function" in choice else None)
    if kind == "allowed_tools" and "allowed_tools" not in choice:
        tools = choice.get("tools")
        allowed = {
            "mode": choice.get("mode", "auto"),
            "tools": [chat_choice(tool) for tool in tools] if isinstance(tools, list) else tools,
        }
        return {"type": kind, "allowed_tools": allowed}
    if kind not in NAMED:
        return choice
    kind = "function" if kind == "tool" else kind
    if kind not in choice and isinstance(choice.get("name"), str):
        return {"type": kind, kind: {"name": choice["name"]}}
    return {**choice, "type": kind}


def responses_choice(choice: Any) -> Any:
    """`tool_choice` of responses: a string, or a tool with its name beside its type."""
    if (word := _choice_name(choice)) is not None:
        return CHOICES[word]
    if not isinstance(choice, dict):
        return choice
    kind = choice.get("type", "function" if "function" in choice else None)
    if kind == "allowed_tools":
        inner = choice.get("allowed_tools")
        flat = {**choice, **inner} if isinstance(inner, dict) else dict(choice)
        if isinstance(tools := flat.get("tools"), list):
            flat["tools"] = [responses_choice(tool) for tool in tools]
        return flat
    if kind not in NAMED:
        return choice
    inner = choice.get(kind)
    named = {"name": inner["name"]} if isinstance(inner, dict) and "name" in inner else {}
    return {**choice, **named, "type": "function" if kind == "tool" else kind}


def messages_choice(choice: Any) -> Any:
    """`tool_choice` of Anthropic's messages: always an object, `tool` for a named one."""
    if isinstance(choice, str) and choice in ANTHROPIC_CHOICES:
        return {"type": ANTHROPIC_CHOICES[choice]}
    if not isinstance(choice, dict):
        return choice
    kind = choice.get("type")
    if isinstance(kind, str) and kind in ANTHROPIC_CHOICES:
        return {**choice, "type": ANTHROPIC_CHOICES[kind]}
    if kind in ("function", "custom"):
        inner = choice.get(kind)
        named = {"name": inner["name"]} if isinstance(inner, dict) and "name" in inner else {}
        return {**choice, **named, "type": "tool"}
    return choice


def chat_tool(tool: Any) -> Any:
    """A tool of chat completions: its function inside `function`."""
    if not isinstance(tool, dict):
        return tool
    kind = tool.get("type", "function")
    if kind == "custom" and "custom" not in tool and "input_schema" not in tool:
        return {"type": "custom", "custom": {key: tool[key] for key in tool if key != "type"}}
    if "input_schema" in tool and "function" not in tool:
        function = {key: tool[key] for key in ("name", "description", "strict") if key in tool}
        return {"type": "function", "function": {**function, "parameters": tool["input_schema"]}}
    if kind == "function" and "function" not in tool and "name" in tool:
        return {"type": kind, "function": {key: tool[key] for key in tool if key != "type"}}
    return {**tool, "type": kind}


def chat_call(call: Any) -> Any:
    """A call in a chat's history: of a function, whatever its type is called, or custom."""
    if not isinstance(call, dict):
        return call
    kind = "custom" if "custom" in call and "function" not in call else "function"
    return {**call, "type": kind}


def responses_tool(tool: Any) -> Any:
    """A tool of responses: its function's fields beside its type."""
    if not isinstance(tool, dict):
        return tool
    if isinstance(function := tool.get("function"), dict) and "name" not in tool:
        rest = {key: value for key, value in tool.items() if key != "function"}
        return {"type": "function", **rest, **function}
    if isinstance(custom := tool.get("custom"), dict) and "name" not in tool:
        return {"type": "custom", **custom}
    if "input_schema" in tool and tool.get("type") in (None, "custom"):
        plain = {key: tool[key] for key in ("name", "description", "strict") if key in tool}
        return {"type": "function", **plain, "parameters": tool["input_schema"]}
    return tool


def messages_tool(tool: Any) -> Any:
    """A tool of Anthropic's messages: `input_schema` beside its name."""
    if not isinstance(tool, dict):
        return tool
    inner = tool.get("function")
    function = inner if isinstance(inner, dict) else tool
    if tool.get("type") != "function" or "name" not in function:
        return tool
    plain = {key: function[key] for key in ("name", "description", "strict") if key in function}
    return {**plain, "input_schema": function.get("parameters")}


def _choice_name(choice: Any) -> str | None:
    word = choice.get("type") if isinstance(choice, dict) else choice
    return word if isinstance(word, str) and word in CHOICES else None
