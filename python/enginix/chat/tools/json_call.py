"""Parses one call, `{"name": ..., "arguments": ...}`, and streams its arguments."""

from __future__ import annotations

import json
from enum import Enum, auto

from enginix.chat.arguments import as_object
from enginix.chat.events import Event, ToolCallArguments
from enginix.chat.tools.calls import Calls
from enginix.chat.tools.json_value import JsonValue

_ARGUMENTS = frozenset(("arguments", "parameters"))
_KEYS = _ARGUMENTS | {"name", "type", "id"}


class _Expect(Enum):
    BRACE = auto()
    KEY_OR_END = auto()
    COLON = auto()
    VALUE = auto()
    COMMA_OR_END = auto()


class JsonCall:
    """`started` once its name and the start of its arguments have been emitted; that is final.

    A truncated or broken call keeps the arguments it has; they stay unclosed.

    With `known_keys_only` an object with any key that calls do not have is broken: without a
    marker around it, it is an answer that happens to be JSON.
    """

    __slots__ = ("_calls", "_expect", "_given", "_index", "_key", "_known_keys_only", "_name",
                 "_streams", "_text", "_value", "_waiting", "broken", "done")  # fmt: skip

    def __init__(self, calls: Calls, *, known_keys_only: bool = False) -> None:
        self.done = False
        self.broken = False
        self._calls = calls
        self._known_keys_only = known_keys_only
        self._expect = _Expect.BRACE
        self._index: int | None = None
        self._name: str | None = None
        self._key: str | None = None
        self._value: JsonValue | None = None
        self._text: list[str] = []
        self._streams = False
        self._given = False
        # Arguments that precede the name.
        self._waiting: list[str] = []

    @property
    def started(self) -> bool:
        return self._index is not None

    def feed(self, text: str, at: int, events: list[Event]) -> int:
        """Read `text` from `at`; stops before the end only when `done` or `broken`."""
        while at < len(text) and not self.done and not self.broken:
            if self._value:
                at = self._read_value(self._value, text, at, events)
            elif text[at] in " \t\r\n":
                at += 1
            else:
                at = self._read_structure(text, at, events)
        return at

    def _read_structure(self, text: str, at: int, events: list[Event]) -> int:
        match self._expect, text[at]:
            case _Expect.BRACE, "{":
                self._expect = _Expect.KEY_OR_END
            case ((_Expect.KEY_OR_END | _Expect.COMMA_OR_END), "}"):
                self._end(events)
            case _Expect.COMMA_OR_END, ",":
                self._expect = _Expect.KEY_OR_END
            case _Expect.COLON, ":":
                self._expect = _Expect.VALUE
            case (_Expect.KEY_OR_END, '"') | (_Expect.VALUE, _):
                self._value = JsonValue()
                self._streams = self._key in _ARGUMENTS and text[at] == "{" and not self._given
                return at
            case _:
                self.broken = True
                return at
        return at + 1

    def _read_value(self, value: JsonValue, text: str, at: int, events: list[Event]) -> int:
        chunk, at = value.feed(text, at)
        if self._streams:
            self._pass_on(chunk, events)
        else:
            self._text.append(chunk)
        self.broken = value.broken
        if value.done:
            self._value = None
            complete = "".join(self._text)
            self._text.clear()
            if self._expect is _Expect.KEY_OR_END:
                self._end_key(json.loads(complete))
            else:
                self._end_value(complete, events)
        return at

    def _end_key(self, key: str) -> None:
        self._key = key
        self._expect = _Expect.COLON
        self.broken = self._known_keys_only and key not in _KEYS

    def _end_value(self, complete: str, events: list[Event]) -> None:
        if self._key == "name" and self._name is None:
            name = json.loads(complete)
            self.broken = not (isinstance(name, str) and name.strip())
            self._name = name
            if self._waiting:
                self._pass_on("", events)
        elif self._key in _ARGUMENTS and not self._given:
            self._given = True
            if not self._streams:
                self._pass_on(as_object(complete), events)
        self._key, self._streams = None, False
        self._expect = _Expect.COMMA_OR_END

    def _end(self, events: list[Event]) -> None:
        if self._name is None:
            self.broken = True
            return
        if not self._given:
            self._pass_on("{}", events)
        self.done = True

    def _pass_on(self, chunk: str, events: list[Event]) -> None:
        if self._name is None:
            self._waiting.append(chunk)
            return
        if self._index is None:
            start = self._calls.start(self._name)
            self._index = start.index
            events.append(start)
            chunk = "".join(self._waiting) + chunk
        if chunk:
            events.append(ToolCallArguments(self._index, chunk))
