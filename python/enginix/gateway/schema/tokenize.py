"""The bodies of /tokenize and /detokenize."""

from __future__ import annotations

from typing import Any

from enginix.gateway.schema.chat import ChatMessage, Tool
from enginix.gateway.schema.fields import Integer, Items, Schema


class TokenizeRequest(Schema):
    """Either a prompt or messages."""

    model: str | None = None
    prompt: str | None = None
    messages: Items[ChatMessage] | None = None
    tools: Items[Tool] | None = None
    add_special_tokens: bool = True
    add_generation_prompt: bool = True
    chat_template_kwargs: dict[str, Any] | None = None
    return_token_strs: bool = False


class DetokenizeRequest(Schema):
    model: str | None = None
    tokens: Items[Integer]
