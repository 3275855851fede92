"""Removes the billing line that Claude Code writes at the start of the system prompt.

It carries no meaning for a model, and its checksum differs in every request: as text it would
change the start of every prompt, and no prefix cache could ever hit.
"""

from __future__ import annotations

import re
from typing import Any

LINE = re.compile(r"^x-anthropic-billing-header:[^\n]*(?:\n+|\Z)", re.MULTILINE)
MARK = "x-anthropic-billing-header:"


def without_billing(text: str) -> str:
    return LINE.sub("", text) if MARK in text else text


def without_billing_in(content: Any) -> Any:
    """The same for a system prompt as text or parts; drops a part that was nothing else."""
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
