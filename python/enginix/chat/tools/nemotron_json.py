"""Tool calls as `<TOOLCALL>[{"name": ..., "arguments": {...}}]</TOOLCALL>` (Nemotron Nano 2)."""

from __future__ import annotations

from enginix.chat.blocks import Opening
from enginix.chat.tools.calls import Calls, ToolFormat
from enginix.chat.tools.json_calls import JsonCalls

OPEN = "<TOOLCALL>"
CLOSE = "</TOOLCALL>"


def openings(calls: Calls) -> tuple[Opening, ...]:
    return (Opening(OPEN, lambda: JsonCalls(OPEN, CLOSE, calls)),)


NEMOTRON_JSON = ToolFormat((OPEN, CLOSE), openings)
