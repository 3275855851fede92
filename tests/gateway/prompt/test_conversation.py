from __future__ import annotations

from gateway.harness import user

from enginix.gateway.prompt.conversation import (
    LONG_CONVERSATION,
    MANY_MESSAGES,
    MANY_TOOLS,
    Conversation,
)


def test_a_conversation_is_long_by_its_characters_its_messages_or_its_tools() -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    assert not Conversation(user("Hi") * MANY_MESSAGES, tools=(tool,) * MANY_TOOLS).is_long
    assert Conversation(user("Hi") * (MANY_MESSAGES + 1)).is_long
    assert Conversation(user("x" * LONG_CONVERSATION)).is_long
    assert Conversation(user("Hi"), tools=(tool,) * (MANY_TOOLS + 1)).is_long
