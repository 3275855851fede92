"""Tells from a chat template which formats the model behind it speaks."""

from __future__ import annotations

import re
from typing import NamedTuple


class Formats(NamedTuple):
    """Names of parsers in `reply.PARSERS`."""

    reasoning: str | None
    tools: str | None


# The first whose texts all stand in the template is it, so the special ones come first.
_TOOL_SIGNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("qwen3-xml", ("<tool_call>", "<function=", "<parameter=")),
    ("nemotron-json", ("<TOOLCALL>",)),
    ("mistral", ("[TOOL_CALLS]",)),
    # Others write something else than JSON inside the same tags.
    ("hermes-json", ("<tool_call>", '"arguments')),
    ("llama3-json", ("<|start_header_id|>", '"parameters"')),
)
_REASONING_SIGNS = (("think-tags", "</think>"), ("think-brackets", "[/THINK]"))
_THINKING_SWITCH = re.compile(
    r"\b(?:if|not|and|or|elif)\s+\(*(enable_thinking|thinking)\)*\s*"
    r"(?:is\b|==|and\b|or\b|else\b|-?%\}|-?\}\})"
)


def detect_formats(template: str) -> Formats:
    """The formats `template` was written for; None where there is no sign of one."""
    tools = next(
        (name for name, signs in _TOOL_SIGNS if all(sign in template for sign in signs)), None
    )
    reasoning = next((name for name, sign in _REASONING_SIGNS if sign in template), None)
    return Formats(reasoning, tools)


def detect_thinking_switch(template: str) -> str | None:
    """The template's variable that turns reasoning on and off, if it has one."""
    found = _THINKING_SWITCH.search(template)
    return found.group(1) if found else None
