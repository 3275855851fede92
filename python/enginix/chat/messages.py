"""Brings a client's messages into the form that chat templates are written for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from enginix.errors import RequestError, TemplateRefused

Message = dict[str, Any]

_TEXT_PARTS = frozenset(("text", "input_text", "output_text", "refusal"))
# A template that asks for None treats it as its own case; all others would print "None".
_KNOWS_NONE = re.compile(r"content\W*\sis (?:not )?none")


def plain_messages(messages: Sequence[Mapping[str, Any]], template: str) -> list[Message]:
    """The same conversation with texts for contents and the field names that `template` reads."""
    if not messages:
        raise TemplateRefused("there are none; send at least one message")
    return [_plain_message(message, index, template) for index, message in enumerate(messages)]


def _plain_message(message: Mapping[str, Any], index: int, template: str) -> Message:
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
    plain["content"] = _text(plain.get("content"), f"messages[{index}].content")
    if plain["content"] is None and not _KNOWS_NONE.search(template):
        plain["content"] = ""
    _name_reasoning(plain)
    if calls := plain.get("tool_calls"):
        plain["tool_calls"] = _plain_calls(calls, f"messages[{index}].tool_calls")
    else:
        plain.pop("tool_calls", None)
    return plain


def _text(content: Any, where: str) -> str | None:
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        raise RequestError(
            f"{where}: expected text or a list of parts, got {type(content).__name__}",
            param=where,
            code="invalid_content",
        )
    return "\n".join(_part_text(part, f"{where}[{place}]") for place, part in enumerate(content))


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
    """Clients send reasoning back under each of these names; templates read the first or second."""
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
    """Templates were trained on arguments as objects; clients send them as JSON text."""
    if not isinstance(call.get("function"), Mapping):
        return dict(call)
    function = dict(call["function"])
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        # What a model once got wrong goes back as it was.
        with suppress(ValueError, RecursionError):
            function["arguments"] = json.loads(arguments) if arguments.strip() else {}
    elif arguments is None:
        function["arguments"] = {}
    return {**call, "function": function}
