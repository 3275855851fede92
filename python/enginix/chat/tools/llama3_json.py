"""Tool calls as bare JSON, `{"name": ..., "parameters": {...}}`, at the start (Llama 3).

Several are separated by semicolons or nothing; `<|python_tag|>` may precede them.
"""

from __future__ import annotations

from enginix.chat.blocks import Opening
from enginix.chat.tools.calls import Calls, ToolFormat
from enginix.chat.tools.json_calls import JsonCalls

PYTHON_TAG = "<|python_tag|>"


def openings(calls: Calls) -> tuple[Opening, ...]:
    return (
        Opening(PYTHON_TAG, lambda: JsonCalls(PYTHON_TAG, None, calls, silent=True)),
        Opening("{", lambda: JsonCalls("{", None, calls, bare=True), only_first=True),
    )


LLAMA3_JSON = ToolFormat((PYTHON_TAG,), openings)
