"""Detects a checkpoint's chat format from its chat template."""

from __future__ import annotations

import re

from enginix.manifest import Chat

# The first format whose texts are all in the template is chosen, so special ones come first.
_TOOL_SIGNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("qwen3-xml", ("<tool_call>", "<function=", "<parameter=")),
    ("nemotron-json", ("<TOOLCALL>",)),
    ("mistral", ("[TOOL_CALLS]",)),
    # Other formats write something other than JSON inside the same tags.
    ("hermes-json", ("<tool_call>", '"arguments')),
    ("llama3-json", ("<|start_header_id|>", '"parameters"')),
)
_REASONING_SIGNS = (("think-tags", "</think>"), ("think-brackets", "[/THINK]"))
_THINKING_SWITCH = re.compile(
    r"\b(?:if|not|and|or|elif)\s+\(*(enable_thinking|thinking)\)*\s*"
    r"(?:is\b|==|and\b|or\b|else\b|-?%\}|-?\}\})"
)


def chat_format(template: str | None) -> Chat:
    """The formats that the template's text shows; None if it shows none."""
    text = template or ""
    tools = (name for name, signs in _TOOL_SIGNS if all(sign in text for sign in signs))
    reasoning = (name for name, sign in _REASONING_SIGNS if sign in text)
    switch = _THINKING_SWITCH.search(text)
    return Chat(
        reasoning=next(reasoning, None),
        tools=next(tools, None),
        thinking_switch=switch[1] if switch else None,
    )
