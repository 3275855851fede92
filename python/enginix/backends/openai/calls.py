"""Reads tool calls that a server parsed, from fragments of which only the order is reliable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import orjson

from enginix.chat.arguments import as_object, is_whole
from enginix.chat.events import Event, ToolCallArguments, ToolCallStart
from enginix.errors import GenerationFailed


class ServerCall:
    """One call so far; `place` is its index in our reply."""

    __slots__ = ("id", "name", "place", "texts")

    def __init__(self, place: int) -> None:
        self.place = place
        self.id = ""
        self.name = ""
        self.texts: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self.texts)


class CallOrder:
    """Assigns fragments to calls: some servers give every call one index, or none."""

    def __init__(self) -> None:
        self.all: list[ServerCall] = []
        self._by_index: dict[int | None, ServerCall] = {}

    def read(self, calls: Any) -> Iterator[tuple[ServerCall, Mapping[str, Any], str]]:
        """Each fragment's call, which has it by then; the fragment, and its arguments' text."""
        for each in calls if isinstance(calls, list) else ():
            if isinstance(each, dict):
                function = function_of(each)
                text = text_of(function.get("arguments"))
                yield self._add(each, str(function.get("name") or ""), text), each, text

    def _add(self, each: Mapping[str, Any], name: str, text: str) -> ServerCall:
        index = each.get("index")
        index = index if isinstance(index, int) else None
        identity = str(each.get("id") or "")
        call = self._by_index.get(index)
        if call is None or begins_another(call, identity, name, text, numbered=index is not None):
            call = self._by_index[index] = ServerCall(len(self.all))
            self.all.append(call)
        call.id = call.id or identity
        call.name = call.name or name
        if text:
            call.texts.append(text)
        return call


def begins_another(call: ServerCall, id: str, name: str, text: str, *, numbered: bool) -> bool:
    """Whether a fragment with the same index, or none, belongs to a new call."""
    if id and call.id and id != call.id:
        # Some servers give every fragment an id, which means nothing within arguments.
        nothing = not text and not call.text.strip()
        return bool(name) or not numbered or nothing or is_whole(call.text)
    if id or not name or not call.name:
        return False
    return not numbered or (bool(text.strip()) and is_whole(call.text))


class ServerCalls:
    """The calls as events: each with its name, and with arguments that are an object."""

    def __init__(self) -> None:
        self._order = CallOrder()
        self._open: ServerCall | None = None
        self._started = False

    def read(self, calls: Any) -> list[Event]:
        events: list[Event] = []
        for call, _, text in self._order.read(calls):
            if call is not self._open:
                if text and call is not self._order.all[-1]:
                    raise GenerationFailed("the server mixed the arguments of two tool calls")
                if call is not self._order.all[-1]:
                    continue
                self._close(events)
                self._open = call
            self._pass_on(call, text, events)
        return events

    def finish(self, *, cut: bool = False) -> list[Event]:
        """The end of the last call, unless a limit `cut` it.

        Raises GenerationFailed for a call that never got a name: no client can make it."""
        events: list[Event] = []
        if not cut:
            self._close(events)
        return events

    def _pass_on(self, call: ServerCall, text: str, events: list[Event]) -> None:
        if self._started:
            if text:
                events.append(ToolCallArguments(call.place, text))
            return
        # Anything but an object must be complete before it can become one.
        if call.name and call.text.lstrip()[:1] == "{":
            self._start(call, call.text.lstrip(), events)

    def _close(self, events: list[Event]) -> None:
        call, started = self._open, self._started
        self._open, self._started = None, False
        if call is None or started:
            return
        if not call.name and call.place and not call.text.strip():
            # The empty fragment that ends the previous call may have another id.
            return
        if not call.name:
            raise GenerationFailed("the server sent a tool call without a name")
        self._start(call, as_object(call.text), events)
        self._started = False

    def _start(self, call: ServerCall, arguments: str, events: list[Event]) -> None:
        self._started = True
        events.append(ToolCallStart(call.place, call.id or f"call_{uuid4().hex[:24]}", call.name))
        events.append(ToolCallArguments(call.place, arguments))


def function_of(call: Mapping[str, Any]) -> Mapping[str, Any]:
    function = call.get("function")
    return function if isinstance(function, dict) else {}


def text_of(value: Any) -> str:
    """A fragment of JSON text; some servers send the whole object at once."""
    if value is None or isinstance(value, str):
        return value or ""
    return orjson.dumps(value).decode()
