"""Tool calls as `<TOOLCALL>[{"name": ..., "arguments": {...}}]</TOOLCALL>` (Nemotron Nano 2)."""

from __future__ import annotations

from enginix.chat.tools.json_calls import json_between

NEMOTRON_JSON = json_between("<TOOLCALL>", "</TOOLCALL>")
