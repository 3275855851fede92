"""Reasoning between `[THINK]` and `[/THINK]` (Magistral, Ministral 3)."""

from __future__ import annotations

from enginix.chat.blocks import Opening, ReasoningFormat
from enginix.chat.reasoning.think_tags import ThinkTags

OPEN = "[THINK]"
CLOSE = "[/THINK]"

THINK_BRACKETS = ReasoningFormat(
    (OPEN, CLOSE), Opening(OPEN, lambda: ThinkTags(CLOSE), only_first=True)
)
