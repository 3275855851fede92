"""Repairs tool calls that clients cannot read in a chat completion that is passed through.

A server with a tool parser of its own may still give two calls one index, leave arguments out, or
claim calls that a limit cut. Everything else, unknown fields included, passes byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from enginix.backends.openai.calls import CallOrder, ServerCall, function_of, text_of
from enginix.chat.arguments import NONE, is_whole

END_OF_EVENT = re.compile(rb"(\r\n\r\n|\n\n|\r\r)")
CALLS = b'"tool_calls"'
DATA = b"data:"


class StreamedCalls:
    """`feed` whole events."""

    __slots__ = ("_choices",)

    def __init__(self) -> None:
        self._choices: dict[int, ChoiceCalls] = {}

    def feed(self, events: bytes) -> bytes:
        # Nearly all streams have no calls; in those that have, the end matters as well.
        if not self._choices and CALLS not in events:
            return events
        return b"".join(map(self._mend, END_OF_EVENT.split(events)))

    def _mend(self, event: bytes) -> bytes:
        if not event.startswith(DATA) or b"\n" in event:
            return event
        document = loaded(event[len(DATA) :])
        changed = [self._mend_choice(choice) for choice in choices_of(document)]
        written = dumped(document) if any(changed) else None
        return event if written is None else b"data: " + written

    def _mend_choice(self, choice: dict[str, Any]) -> bool:
        delta, index = choice.get("delta"), choice.get("index")
        calls = delta.get("tool_calls") if isinstance(delta, dict) else None
        index = index if isinstance(index, int) else 0
        if index not in self._choices:
            if not calls:
                return False
            self._choices[index] = ChoiceCalls()
        return self._choices[index].mend(choice, calls)


class ChoiceCalls:
    """The calls of one choice."""

    __slots__ = ("_last", "_order")

    def __init__(self) -> None:
        self._order = CallOrder()
        self._last: ServerCall | None = None

    def mend(self, choice: dict[str, Any], calls: Any) -> bool:
        """Repair the calls of one chunk in place; return whether anything changed."""
        sent = [each for each in calls if isinstance(each, dict)] if isinstance(calls, list) else []
        if any(map(is_custom, sent)):
            return False
        mended = list(self._mended(sent))
        reason = choice.get("finish_reason")
        if reason not in (None, "length"):
            mended += self._arguments_left_out()
            self._last = None
        changed = mended != sent
        if changed:
            choice["delta"] = {**(choice.get("delta") or {}), "tool_calls": mended}
        return drop_unreadable_calls(choice, [call.text for call in self._order.all]) or changed

    def _mended(self, sent: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for call, each, text in self._order.read(sent):
            if call is not self._last:
                yield from self._arguments_left_out()
                self._last = call
            yield {**each, "index": call.place, **as_text(each, text)}

    def _arguments_left_out(self) -> list[dict[str, Any]]:
        call = self._last
        if call is None or call.text.strip():
            return []
        call.texts.append(NONE)
        return [{"index": call.place, "function": {"arguments": NONE}}]


def mended_document(body: bytes) -> bytes:
    """A whole chat completion with its calls repaired."""
    if CALLS not in body:
        return body
    document = loaded(body)
    changed = [mend_message(choice) for choice in choices_of(document)]
    return (dumped(document) if any(changed) else None) or body


def mend_message(choice: dict[str, Any]) -> bool:
    message = choice.get("message")
    calls = message.get("tool_calls") if isinstance(message, dict) else None
    if not isinstance(calls, list) or not calls:
        return False
    changed = False
    texts = []
    for place, call in enumerate(calls):
        if not isinstance(call, dict):
            return False
        if is_custom(call):
            continue
        text = text_of(function_of(call).get("arguments"))
        # A limit may have cut the last one before its first argument.
        if not text.strip() and (choice.get("finish_reason") != "length" or calls[place + 1 :]):
            text = NONE
        texts.append(text)
        if function_of(call).get("arguments") != text:
            call["function"] = {**function_of(call), "arguments": text}
            changed = True
    return drop_unreadable_calls(choice, texts) or changed


def is_custom(call: Mapping[str, Any]) -> bool:
    """Whether it calls a custom tool, which has no arguments to repair."""
    return "custom" in call and "function" not in call


def drop_unreadable_calls(choice: dict[str, Any], arguments: Sequence[str]) -> bool:
    """Withdraw a finish reason for calls that no client can read; return whether it did."""
    if choice.get("finish_reason") != "tool_calls" or all(map(is_whole, arguments)):
        return False
    choice["finish_reason"] = "stop"
    return True


def as_text(call: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Arguments as the text they have to be, if they came as an object."""
    function = function_of(call)
    if not function or isinstance(function.get("arguments"), str | None):
        return {}
    return {"function": {**function, "arguments": text}}


def choices_of(document: Any) -> list[dict[str, Any]]:
    choices = document.get("choices") if isinstance(document, dict) else None
    return [each for each in choices if isinstance(each, dict)] if isinstance(choices, list) else []


def loaded(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def dumped(document: Any) -> bytes | None:
    """None for a value that is nested too deeply to encode."""
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError:
        return None
