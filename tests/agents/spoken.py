"""A function call in each tool-call format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

THOUGHT = "<think>\nI look.\n</think>\n\n"


def call_text(format: str, name: str, arguments: Mapping[str, Any]) -> str:
    """One complete call, as the format's models write it."""
    if format == "qwen3-xml":
        values = "".join(
            f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in arguments.items()
        )
        return f"<tool_call>\n<function={name}>\n{values}</function>\n</tool_call>"
    body = json.dumps(dict(arguments), ensure_ascii=False)
    if format == "mistral":
        return f"[TOOL_CALLS]{name}[ARGS]{body}"
    if format == "llama3-json":
        return f'{{"name": "{name}", "parameters": {body}}}'
    call = f'{{"name": "{name}", "arguments": {body}}}'
    if format == "nemotron-json":
        return f"<TOOLCALL>[{call}]</TOOLCALL>"
    return f"<tool_call>\n{call}\n</tool_call>"


def thinks(format: str) -> str:
    """The reasoning before a call; Llama models write nothing before one."""
    return "" if format == "llama3-json" else THOUGHT
