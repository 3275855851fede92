"""Which chat format a checkpoint speaks, as far as its chat template tells."""

from __future__ import annotations

from enginix.manifest import Chat

# How templates of the Hermes format (Qwen's too) explain or write a call; others that also use
# <tool_call> put XML inside it.
HERMES_CALLS = (
    '{"name": <function-name>',
    '<tool_call>\\n{"name": "',
    '{\\"name\\": <function-name>',
)


def chat_format(template: str | None) -> Chat:
    """What the template's own words show, and None where they show nothing."""
    text = template or ""
    return Chat(
        reasoning="think-tags" if "<think>" in text else None,
        tools="hermes-json" if any(call in text for call in HERMES_CALLS) else None,
        thinking_switch="enable_thinking" if "enable_thinking" in text else None,
    )
