"""Writes untyped parameters as a JSON object, using their JSON schemas."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from enginix.chat.arguments import NONE, refuse_constant
from enginix.chat.tools.schema_parts import MAX_VARIANTS, BadReference, listed, variants

NO_SCHEMA: Mapping[str, Any] = {}

_JSON_TYPES: dict[type, frozenset[str]] = {
    bool: frozenset(("boolean",)),
    int: frozenset(("integer", "number")),
    float: frozenset(("number",)),
    dict: frozenset(("object",)),
    list: frozenset(("array",)),
    type(None): frozenset(("null",)),
    str: frozenset(("string",)),
}


class XmlArguments:
    """The arguments of one call as JSON text, in chunks; they stay unclosed until `close`."""

    __slots__ = ("_fresh", "_key", "_quoted", "_streams", "_text", "_types", "_written")

    def __init__(self) -> None:
        self._written = self._quoted = False
        self.begin("", frozenset())

    def begin(self, key: str, types: frozenset[str]) -> None:
        """Start the value of `key`."""
        self._key = json.dumps(key, ensure_ascii=False)
        self._types = types
        self._streams = types == {"string"}
        self._fresh = True
        self._text: list[str] = []

    def feed(self, text: str) -> str:
        if self._fresh and text:
            self._fresh = False
            # The line break after the tag is layout.
            text = text.removeprefix("\n")
        if not self._streams:
            self._text.append(text)
        elif text:
            return self._write(self._open_string() + json.dumps(text, ensure_ascii=False)[1:-1])
        return ""

    def end(self) -> str:
        """End the value."""
        if not self._streams:
            return self._write(self._introduction() + json_text("".join(self._text), self._types))
        opening, self._quoted = self._open_string(), False
        return self._write(opening + '"')

    def close(self) -> str:
        """End the call and all of its values."""
        return "}" if self._written else NONE

    def _open_string(self) -> str:
        if self._quoted:
            return ""
        self._quoted = True
        return self._introduction() + '"'

    def _introduction(self) -> str:
        return (", " if self._written else "{") + self._key + ": "

    def _write(self, text: str) -> str:
        self._written = True
        return text


def schema_types(schema: object, root: Mapping[str, Any] = NO_SCHEMA) -> frozenset[str]:
    """The JSON types a schema in `root` allows; empty if it does not restrict them."""
    try:
        return frozenset().union(*map(_types, islice(variants(schema, root), MAX_VARIANTS)))
    except BadReference:
        # Clients may send any schema: a broken reference restricts nothing.
        return frozenset()


def _types(schema: Mapping[str, Any]) -> frozenset[str]:
    declared = schema.get("type")
    types = [declared] if isinstance(declared, str) else listed(schema, "type")
    if types:
        return frozenset(map(str, types))
    return frozenset().union(
        *(_JSON_TYPES.get(type(value), frozenset()) for value in _constants(schema))
    )


def string_constants(schema: object, root: Mapping[str, Any]) -> list[str]:
    """All strings that a schema in `root` allows; empty if it allows any."""
    found: list[str] = []
    for variant in islice(variants(schema, root), MAX_VARIANTS):
        constants = [each for each in _constants(variant) if isinstance(each, str)]
        if not constants:
            return []
        found += constants
    return list(dict.fromkeys(found))


def _constants(schema: Mapping[str, Any]) -> Sequence[Any]:
    return [schema["const"]] if "const" in schema else listed(schema, "enum")


def json_text(text: str, types: frozenset[str]) -> str:
    """`text` as JSON of one of `types`, or of the type it looks like; a string if none fits."""
    bare = text.strip()
    # Python's spellings: templates print earlier calls with them.
    bare = {"True": "true", "False": "false", "None": "null"}.get(bare, bare)
    for candidate in (bare, _from_python(bare)):
        found = _json_types(candidate)
        if found & types or (not types and found and "string" not in found):
            return candidate
    return json.dumps(text, ensure_ascii=False)


def _json_types(text: str) -> frozenset[str]:
    try:
        value = json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        return frozenset()
    return _JSON_TYPES[type(value)]


def _from_python(text: str) -> str:
    """Convert a Python list or dictionary to JSON; empty if it is neither."""
    if text[:1] not in ("{", "["):
        return ""
    try:
        return json.dumps(ast.literal_eval(text), ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return ""
