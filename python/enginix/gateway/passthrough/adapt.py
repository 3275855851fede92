"""Decides which requests another server can take, and adapts them to it.

Servers of the OpenAI API read their dialects strictly. What clients send beyond them is respelled;
what has no other spelling is translated to chat completions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from enginix.backends.openai.negotiate import REASONING, without_reasoning
from enginix.errors import ResourceNotFound
from enginix.gateway.models.server_model import ServerModel
from enginix.gateway.prompt.billing import without_billing_in
from enginix.gateway.prompt.strict_servers import ANNOTATIONS
from enginix.gateway.schema.chat import ChatRequest
from enginix.gateway.schema.lenient import (
    chat_choice,
    chat_tool,
    messages_choice,
    messages_tool,
    responses_choice,
    responses_tool,
)

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"
COUNT = "/v1/messages/count_tokens"
SPELLINGS = {
    CHAT: (chat_choice, chat_tool),
    RESPONSES: (responses_choice, responses_tool),
    MESSAGES: (messages_choice, messages_tool),
    COUNT: (messages_choice, messages_tool),
}
# What every server of a dialect reads. Everything else is translated to chat completions.
BLOCKS = frozenset({"text", "image", "tool_use", "tool_result", "thinking", "redacted_thinking"})
ITEMS = frozenset({"message", "reasoning", "function_call", "function_call_output"})
# Tools that clients run and few servers know.
CLIENT_TOOLS = frozenset(
    {"namespace", "custom", "tool_search", "local_shell", "shell", "apply_patch"}
)
# Engines whose servers make responses of chats, and leave fields of their events out.
CHATS_ONLY = frozenset({"llamacpp"})
# Fields of a chat whose answers this gateway can write completely.
CHATS = ChatRequest.model_fields.keys() | ANNOTATIONS


@dataclass(frozen=True, slots=True)
class Passthrough:
    """A request that a model's own server answers byte for byte."""

    model: ServerModel
    path: str
    body: Mapping[str, Any]


def passthrough(
    model: ServerModel, path: str, sent: Mapping[str, Any], *, translatable: bool
) -> Passthrough | None:
    """None for a request that is translated to a chat completion instead."""
    # Without tools the text holds no call.
    parses = model.reasoning is not None or (model.tools is not None and bool(sent.get("tools")))
    # A strict server may notice only in a stream of its own that a client leaves.
    separates = (parses or model.strict is not None) and path != COUNT
    translated = (
        separates
        or model.backend.lacks(path)
        or must_translate(path, sent)
        or (path == RESPONSES and model.engine in CHATS_ONLY)
        # llama-server translates these itself, and drops the field that chooses the adapter.
        or (path == MESSAGES and model.parent is not None and bool(model.fields))
    )
    if translatable and translated:
        return None
    if model.strict and path != COUNT:
        raise ResourceNotFound(
            f"{model.name} is served by {model.strict.title}, which has no {path}; send {CHAT}",
            code="unsupported_route",
        )
    body = {**plain_body(path, sent), **model.fields, "model": model.backend.model}
    if path == CHAT and "messages" in body and model.backend.lacks(REASONING):
        body["messages"] = without_reasoning(body["messages"])
    # This gateway has chosen between the servers, and some do not know the field.
    body.pop("engine", None)
    if not model.takes_priority:
        # The request has waited for its turn here.
        body.pop("priority", None)
    return Passthrough(model, path, body)


def plain_body(path: str, sent: Mapping[str, Any]) -> dict[str, Any]:
    """The same request in the dialect's own spelling."""
    plain = dict(sent)
    if path not in SPELLINGS:
        return plain
    spell_choice, spell_tool = SPELLINGS[path]
    if plain.get("tool_choice") is not None:
        plain["tool_choice"] = spell_choice(plain["tool_choice"])
    if isinstance(tools := plain.get("tools"), list):
        plain["tools"] = [spell_tool(tool) for tool in tools]
    if "system" in plain:
        plain["system"] = without_billing_in(plain["system"])
    if isinstance(messages := plain.get("messages"), list):
        plain["messages"] = [_without_billing(message) for message in messages]
    return plain


def must_translate(path: str, sent: Mapping[str, Any]) -> bool:
    """Whether only a translation to chat completions serves the request."""
    if path == CHAT:
        customs = "custom" in _types(sent.get("tools"))
        return customs or (bool(sent.get("stop")) and not keeps_stop_strings(sent))
    if path in (MESSAGES, COUNT):
        strange = any(kind not in BLOCKS for kind in _block_types(sent))
        return strange or (path == MESSAGES and has_more_than_servers_read(sent))
    if path == RESPONSES and not sent.get("previous_response_id"):
        # Only the server can continue a conversation that it has stored.
        tools = {*_types(sent.get("tools"))}
        if tools & CLIENT_TOOLS:
            return True
        # A server that runs tools reads their items.
        strange = any(kind not in ITEMS for kind in _types(sent.get("input"), default="message"))
        return (strange or has_format(sent)) and tools <= {"function"}
    return False


def has_more_than_servers_read(sent: Mapping[str, Any]) -> bool:
    """Whether a message has what servers ignore or mistake, and would answer another one."""
    config = sent.get("output_config")
    return bool(
        sent.get("stop_sequences")
        or sent.get("output_format")
        or (isinstance(config, dict) and config.get("format"))
        or _type(messages_choice(sent.get("tool_choice"))) == "none"
        or _type(sent.get("thinking")) == "disabled"
        or _type(sent.get("thread")) == "continue"
    )


def has_format(sent: Mapping[str, Any]) -> bool:
    """Whether a response is to be JSON, which llama-server ignores."""
    text = sent.get("text")
    return isinstance(text, dict) and _type(text.get("format")) not in ("", "text")


def keeps_stop_strings(sent: Mapping[str, Any]) -> bool:
    """Whether a chat's stop strings are left to the server, because it has fields unknown here."""
    return not sent.keys() <= CHATS


def _without_billing(message: Any) -> Any:
    if isinstance(message, dict) and message.get("role") in ("system", "developer"):
        return {**message, "content": without_billing_in(message.get("content"))}
    return message


def _block_types(sent: Mapping[str, Any]) -> Iterator[str]:
    messages = sent.get("messages")
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        yield from _types(content)
        for block in content if isinstance(content, list) else ():
            if isinstance(block, dict) and block.get("type") == "tool_result":
                yield from _types(block.get("content"))


def _types(items: Any, default: str = "") -> Iterator[str]:
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict):
            yield _type(item, default)


def _type(item: Any, default: str = "") -> str:
    return str(item.get("type", default)) if isinstance(item, dict) else default
