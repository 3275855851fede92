"""Tool calls as `<tool_call>{"name": ..., "arguments": {...}}</tool_call>` (Hermes, Qwen3)."""

from __future__ import annotations

from enginix.chat.blocks import Opening
from enginix.chat.tools.calls import Calls, ToolFormat
from enginix.chat.tools.json_calls import JsonCalls

OPEN = "<tool_call>"
CLOSE = "</tool_call>"


def openings(calls: Calls) -> tuple[Opening, ...]:
    return (Opening(OPEN, lambda: JsonCalls(OPEN, CLOSE, calls)),)


HERMES_JSON = ToolFormat((OPEN, CLOSE), openings)
