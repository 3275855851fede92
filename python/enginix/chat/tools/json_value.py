"""Parses one JSON value as it streams in, and emits only what later text cannot change.

A key waits for its value and a number for its end, so the emitted text is always a prefix of the
complete value. Nothing is ever added: an object that ends early stays unclosed, and no JSON parser
accepts it. Common mistakes of models are repaired: raw control characters and unknown escapes in
strings, lone surrogates, a comma before a closing bracket.
"""

from __future__ import annotations

import re
from enum import Enum, auto

# JSON parsers recurse; this depth is safe in all of them.
MAX_DEPTH = 100

_SPACE = re.compile(r"[ \t\r\n]+")
_PLAIN = re.compile(r'[^"\\\x00-\x1f\ud800-\udfff]+')
_SCALAR_PART = re.compile(r"[-+.0-9A-Za-z]*")
_SCALAR = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|null")
_HEX = frozenset("0123456789abcdefABCDEF")
_REPLACEMENT = "\\ufffd"


class _Expect(Enum):
    VALUE = auto()
    ITEM_OR_END = auto()
    KEY_OR_END = auto()
    COLON = auto()
    COMMA_OR_END = auto()


class JsonValue:
    __slots__ = ("_closers", "_escape", "_expect", "_high", "_key", "_out", "_scalar", "_string",
                 "_waiting", "broken", "done")  # fmt: skip

    def __init__(self) -> None:
        self.done = False
        self.broken = False
        self._expect = _Expect.VALUE
        self._closers: list[str] = []
        # Commas, keys and white space wait here for the value they precede.
        self._waiting: list[str] = []
        self._out: list[str] = []
        self._string = False
        self._key = False
        self._escape = ""
        self._high = ""
        self._scalar = ""

    def feed(self, text: str, at: int = 0) -> tuple[str, int]:
        """Read `text` from `at`; return what can be emitted and where reading stopped.

        It stops before the end of the text only when `done` or `broken`."""
        while at < len(text) and not self.done and not self.broken:
            if self._string:
                at = self._read_string(text, at)
            elif self._scalar:
                at = self._read_scalar(text, at)
            else:
                at = self._read_structure(text, at)
        out = "".join(self._out)
        self._out.clear()
        return out, at

    def _read_structure(self, text: str, at: int) -> int:
        char = text[at]
        if space := _SPACE.match(text, at):
            if self._closers:
                self._waiting.append(space.group())
            return space.end()
        expect = self._expect
        if self._closers and char == self._closers[-1] and self._may_end():
            self._end_container(char)
        elif expect is _Expect.COMMA_OR_END and char == ",":
            self._waiting.append(char)
            in_object = self._closers[-1] == "}"
            self._expect = _Expect.KEY_OR_END if in_object else _Expect.ITEM_OR_END
        elif expect is _Expect.COLON and char == ":":
            self._waiting.append(char)
            self._expect = _Expect.VALUE
        elif expect is _Expect.KEY_OR_END and char == '"':
            self._string = self._key = True
            self._waiting.append(char)
        elif expect in (_Expect.VALUE, _Expect.ITEM_OR_END):
            return self._start_value(char, at)
        else:
            self.broken = True
            return at
        return at + 1

    def _may_end(self) -> bool:
        return self._expect not in (_Expect.VALUE, _Expect.COLON)

    def _start_value(self, char: str, at: int) -> int:
        if char in "{[" and len(self._closers) < MAX_DEPTH:
            self._pass_on(char)
            self._closers.append("}" if char == "{" else "]")
            self._expect = _Expect.KEY_OR_END if char == "{" else _Expect.ITEM_OR_END
        elif char == '"':
            self._pass_on(char)
            self._string = True
        elif _SCALAR_PART.fullmatch(char):
            self._scalar = char
        else:
            self.broken = True
            return at
        return at + 1

    def _read_scalar(self, text: str, at: int) -> int:
        part = _SCALAR_PART.match(text, at)
        assert part is not None
        self._scalar += part.group()
        # At the end of the text the number may continue.
        if part.end() < len(text):
            if _SCALAR.fullmatch(self._scalar):
                self._pass_on(self._scalar)
                self._end_value()
            else:
                self.broken = True
            self._scalar = ""
        return part.end()

    def _read_string(self, text: str, at: int) -> int:
        if self._escape:
            return self._read_escape(text, at)
        char = text[at]
        if self._high and char != "\\":
            self._high = ""
            self._emit(_REPLACEMENT)
        if plain := _PLAIN.match(text, at):
            self._emit(plain.group())
            return plain.end()
        if char == "\\":
            self._escape = char
        elif char == '"':
            self._end_string()
        elif char < " ":
            self._emit(f"\\u{ord(char):04x}" if char not in "\n\t\r" else repr(char)[1:-1])
        else:
            self._emit(_REPLACEMENT)
        return at + 1

    def _read_escape(self, text: str, at: int) -> int:
        char = text[at]
        if len(self._escape) == 1:
            if char == "u":
                self._escape += char
                return at + 1
            escape, self._escape = self._escape, ""
            self._release_high()
            if char in '"\\/bfnrt':
                self._emit(escape + char)
                return at + 1
            # `\d` is a backslash that the model did not double.
            self._emit("\\\\")
            return at
        if char not in _HEX:
            escape, self._escape = self._escape, ""
            self._release_high()
            self._emit("\\" + escape)
            return at
        self._escape += char
        if len(self._escape) == 6:
            self._end_unicode_escape()
        return at + 1

    def _end_unicode_escape(self) -> None:
        escape, self._escape = self._escape, ""
        code = int(escape[2:], 16)
        if 0xDC00 <= code <= 0xDFFF:
            high, self._high = self._high, ""
            self._emit(high + escape if high else _REPLACEMENT)
            return
        self._release_high()
        if 0xD800 <= code <= 0xDBFF:
            # A high surrogate waits for its pair: alone it is not text.
            self._high = escape
        else:
            self._emit(escape)

    def _release_high(self) -> None:
        if self._high:
            self._high = ""
            self._emit(_REPLACEMENT)

    def _end_string(self) -> None:
        self._emit('"')
        self._string = False
        if self._key:
            self._key = False
            self._expect = _Expect.COLON
        else:
            self._end_value()

    def _end_container(self, char: str) -> None:
        if "," in self._waiting:
            self._waiting.clear()
        self._pass_on(char)
        self._closers.pop()
        self._end_value()

    def _end_value(self) -> None:
        self._expect = _Expect.COMMA_OR_END
        self.done = not self._closers

    def _emit(self, text: str) -> None:
        (self._waiting if self._key else self._out).append(text)

    def _pass_on(self, text: str) -> None:
        self._out += self._waiting
        self._waiting.clear()
        self._out.append(text)
