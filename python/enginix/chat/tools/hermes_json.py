"""Tool calls as `<tool_call>{"name": ..., "arguments": {...}}</tool_call>` (Hermes, Qwen3)."""

from __future__ import annotations

from enginix.chat.tools.json_calls import json_between

HERMES_JSON = json_between("<tool_call>", "</tool_call>")
