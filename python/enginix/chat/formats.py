"""Tells from a chat template which formats the model behind it speaks."""

from __future__ import annotations

import re
from typing import NamedTuple


class Formats(NamedTuple):
    """Names of parsers in `reply.PARSERS`."""

    reasoning: str | None
    tools: str | None


# The first whose texts all stand in the template is it, so the special ones come first.
_TOOL_SIGNS: tuple[tuple[str | None, tuple[str, ...]], ...] = (
    ("qwen3-xml", ("<function=", "<parameter=")),
    ("nemotron-json", ("<TOOLCALL>",)),
    ("mistral", ("[TOOL_CALLS]",)),
    # GLM writes keys and values as tags inside <tool_call>, which none of our formats reads.
    (None, ("<tool_call>", "<arg_key>")),
    ("hermes-json", ("<tool_call>",)),
    ("llama3-json", ("<|start_header_id|>", '"parameters"')),
)
_THINKING_SWITCH = re.compile(r"\b(?:if|not|and|or|elif)\s+\(*(enable_thinking|thinking)\b")


def detect_formats(template: str) -> Formats:
    """The formats `template` was written for; None where there is no sign of one."""
    tools = next(
        (name for name, signs in _TOOL_SIGNS if all(sign in template for sign in signs)), None
    )
    return Formats("think-tags" if "</think>" in template else None, tools)


def detect_thinking_switch(template: str) -> str | None:
    """The template's variable that turns reasoning on and off, if it has one."""
    found = _THINKING_SWITCH.search(template)
    return found.group(1) if found else None
