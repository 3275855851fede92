"""A line that Claude Code writes for its maker's billing at the head of the system prompt.

It says nothing to a model, and its checksum is another one in every request: read as text it would
change the head of every prompt, and no prefix cache could ever hit.
"""

from __future__ import annotations

import re
from typing import Any

LINE = re.compile(r"^x-anthropic-billing-header:[^\n]*(?:\n+|\Z)", re.MULTILINE)
MARK = "x-anthropic-billing-header:"


def without_billing(text: str) -> str:
    return LINE.sub("", text) if MARK in text else text


def without_billing_in(content: Any) -> Any:
    """The same of a system prompt as text or as parts; a part that was nothing else is left out."""
    if isinstance(content, str):
        return without_billing(content)
    if not isinstance(content, list):
        return content
    kept = []
    for part in content:
        text = part.get("text") if isinstance(part, dict) else None
        if not isinstance(text, str) or (plain := without_billing(text)) == text:
            kept.append(part)
        elif plain:
            kept.append({**part, "text": plain})
    return kept
