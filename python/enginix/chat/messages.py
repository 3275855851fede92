"""Normalises a client's messages to the form that chat templates expect."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from enginix.chat.content_format import ContentFormat
from enginix.errors import RequestError, TemplateRefused

Message = dict[str, Any]

_TEXT_PARTS = frozenset(("text", "input_text", "output_text", "refusal"))
# The key for arguments that are not an object: a bare value, a list, truncated JSON.
UNNAMED = "arguments"
# A template that tests for None handles it; all others would print "None".
_KNOWS_NONE = re.compile(r"content\W*\sis (?:not )?none")


def plain_messages(
    messages: Sequence[Mapping[str, Any]],
    template: str,
    contents: ContentFormat = ContentFormat.TEXT,
) -> list[Message]:
    """The same conversation with the content format and field names that `template` reads."""
    if not messages:
        raise TemplateRefused("there are none; send at least one message")
    return [
        _plain_message(message, index, template, contents) for index, message in enumerate(messages)
    ]


def _plain_message(
    message: Mapping[str, Any], index: int, template: str, contents: ContentFormat
) -> Message:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise RequestError(
            f"messages[{index}]: expected an object with a role, got {message!r}",
            param=f"messages[{index}]",
            code="invalid_message",
        )
    plain = dict(message)
    # OpenAI's newer name for what nearly every template calls system.
    if plain["role"] == "developer" and "developer" not in template:
        plain["role"] = "system"
    plain["content"] = _content(plain.get("content"), f"messages[{index}].content", contents)
    if plain["content"] is None and not _KNOWS_NONE.search(template):
        plain["content"] = [] if contents is ContentFormat.PARTS else ""
    _name_reasoning(plain)
    if calls := plain.get("tool_calls"):
        plain["tool_calls"] = _plain_calls(calls, f"messages[{index}].tool_calls")
    else:
        plain.pop("tool_calls", None)
    return plain


def _content(content: Any, where: str, contents: ContentFormat) -> str | list[Message] | None:
    if content is None:
        return None
    if isinstance(content, str):
        return text_parts(content) if contents is ContentFormat.PARTS else content
    if not isinstance(content, Sequence):
        raise RequestError(
            f"{where}: expected text or a list of parts, got {type(content).__name__}",
            param=where,
            code="invalid_content",
        )
    texts = [_part_text(part, f"{where}[{place}]") for place, part in enumerate(content)]
    return "\n".join(texts) if contents is ContentFormat.TEXT else text_parts(*texts)


def text_parts(*texts: str) -> list[Message]:
    return [{"type": "text", "text": text} for text in texts]


def _part_text(part: Any, where: str) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    text = part.get("text", part.get("refusal")) if isinstance(part, Mapping) else None
    if kind not in _TEXT_PARTS or not isinstance(text, str):
        raise RequestError(
            f"{where}: this model reads text, got a part of type {kind!r}; "
            'send {"type": "text", "text": ...}',
            param=where,
            code="unsupported_content",
        )
    return text


def _name_reasoning(message: Message) -> None:
    """Copy reasoning to `reasoning_content`; clients use each of these names."""
    names = ("reasoning_content", "thinking", "reasoning")
    found = next((message[name] for name in names if isinstance(message.get(name), str)), None)
    if found is not None:
        message["reasoning_content"] = found
        message.setdefault("thinking", found)


def _plain_calls(calls: Any, where: str) -> list[Message]:
    if not isinstance(calls, Sequence) or not all(isinstance(call, Mapping) for call in calls):
        raise RequestError(
            f"{where}: expected a list of calls, got {calls!r}", param=where, code="invalid_message"
        )
    return [_plain_call(call) for call in calls]


def _plain_call(call: Mapping[str, Any]) -> Message:
    """Some clients omit the `function` level."""
    function = call.get("function")
    if not isinstance(function, Mapping):
        return _with_object(call) if "arguments" in call else dict(call)
    return {**call, "function": _with_object(function)}


def _with_object(function: Mapping[str, Any]) -> Message:
    """Parse the arguments: templates loop over them, and clients send JSON text."""
    found = function.get("arguments")
    parsed = _parsed(found) if isinstance(found, str) else found
    if parsed is None:
        parsed = {}
    # A model's malformed arguments go back to it under a key, because templates expect an object.
    arguments = parsed if isinstance(parsed, Mapping) else {UNNAMED: parsed}
    return {**function, "arguments": arguments}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text) if text.strip() else None
    except (ValueError, RecursionError):
        return text
