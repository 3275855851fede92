"""Tool calls after `[TOOL_CALLS]` (Mistral): a JSON list, or one `name[ARGS]{...}` each."""

from __future__ import annotations

import re
import secrets
import string

from enginix.chat.blocks import Block, Opening
from enginix.chat.events import Answer, Event, ToolCallArguments
from enginix.chat.tools.calls import Calls, ToolFormat
from enginix.chat.tools.json_calls import JsonCalls
from enginix.chat.tools.json_value import JsonValue

OPEN = "[TOOL_CALLS]"
ARGUMENTS = "[ARGS]"
CALL_ID = "[CALL_ID]"

# The name, an optional id, and the marker, which the tokenizer may have dropped.
_HEAD = re.compile(r"\s*([\w.:-]+)\s*(?:\[CALL_ID\]\s*\w+\s*)?(?:\[ARGS\]\s*)?(?=\{)", re.ASCII)
_MAY_BE_HEAD = re.compile(r"\s*[\w.:-]*\s*(?:\[CALL_ID\]\s*\w*\s*)?(?:\[ARGS\]\s*)?", re.ASCII)


def openings(calls: Calls) -> tuple[Opening, ...]:
    return (Opening(OPEN, lambda: MistralCalls(calls)),)


def new_id() -> str:
    # Mistral's templates reject every id that is not nine letters or digits.
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(9))


MISTRAL = ToolFormat((OPEN, CALL_ID, ARGUMENTS), openings, new_id)


class MistralCalls:
    """Selects one of the two forms by the first character."""

    __slots__ = ("_calls", "_form", "_held", "done", "rest")

    def __init__(self, calls: Calls) -> None:
        self.done = False
        self.rest = ""
        self._calls = calls
        self._held = ""
        self._form: Block | None = None

    def feed(self, text: str) -> list[Event]:
        if self._form is None:
            text, self._held = self._held + text, ""
            first = text.lstrip()[:1]
            if not first:
                self._held = text
                return []
            if first in "[{":
                self._form = JsonCalls(OPEN, None, self._calls, silent=True)
            else:
                self._form = NamedCall(self._calls)
        events = self._form.feed(text)
        self.done, self.rest = self._form.done, self._form.rest
        return events

    def finish(self) -> list[Event]:
        return self._form.finish() if self._form else _as_text(self._held)


class NamedCall:
    """`name[ARGS]{...}`; the next call has its own `[TOOL_CALLS]`."""

    __slots__ = ("_arguments", "_calls", "_held", "_index", "done", "rest")

    def __init__(self, calls: Calls) -> None:
        self.done = False
        self.rest = ""
        self._calls = calls
        self._held = ""
        self._index = 0
        self._arguments: JsonValue | None = None

    def feed(self, text: str) -> list[Event]:
        if self._arguments:
            return self._read_arguments(self._arguments, text)
        text = self._held + text
        head = _HEAD.match(text)
        if head is None:
            return self._wait(text)
        start = self._calls.start(head.group(1))
        self._index, self._arguments = start.index, JsonValue()
        return [start, *self._read_arguments(self._arguments, text[head.end() :])]

    def finish(self) -> list[Event]:
        return [] if self._arguments else _as_text(self._held)

    def _wait(self, text: str) -> list[Event]:
        partial = _MAY_BE_HEAD.match(text)
        assert partial is not None
        tail = text[partial.end() :]
        if not tail or any(marker.startswith(tail) for marker in (ARGUMENTS, CALL_ID)):
            self._held = text
            return []
        self.done, self.rest = True, tail
        return _as_text(text[: partial.end()])

    def _read_arguments(self, arguments: JsonValue, text: str) -> list[Event]:
        chunk, at = arguments.feed(text)
        self.done = arguments.done or arguments.broken
        self.rest = text[at:]
        return [ToolCallArguments(self._index, chunk)] if chunk else []


def _as_text(text: str) -> list[Event]:
    """Text that turned out not to be a call, without the special tokens around it."""
    for marker in (ARGUMENTS, CALL_ID):
        text = text.replace(marker, "")
    return [Answer(text)] if text else []
