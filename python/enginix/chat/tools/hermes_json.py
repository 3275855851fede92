"""Tool calls as `<tool_call>{"name": ..., "arguments": {...}}</tool_call>` (Hermes, Qwen3)."""

from __future__ import annotations

from typing import ClassVar

from enginix.chat.blocks import Opening
from enginix.chat.tools.calls import Calls, random_call_id
from enginix.chat.tools.json_calls import JsonCalls

OPEN = "<tool_call>"
CLOSE = "</tool_call>"


class HermesJson:
    MARKERS: ClassVar[tuple[str, ...]] = (OPEN, CLOSE)
    new_id = staticmethod(random_call_id)

    @staticmethod
    def openings(calls: Calls) -> tuple[Opening, ...]:
        return (Opening(OPEN, lambda: JsonCalls(OPEN, CLOSE, calls)),)
