"""JSON schemas as EBNF rules, for JSON values inside a format that is no JSON itself.

What a grammar cannot say (`pattern`, `format`, bounds of numbers and lengths of strings) is left
out: the value has the right form, and its receiver checks the rest as it must anyway.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from enginix.errors import RequestError

# Of schemas inside each other, of an array's bounds, and of rules: engines unroll them.
MAX_DEPTH = 32
MAX_ITEMS = 1000
MAX_RULES = 2000

PRIMITIVES = {
    # Bounded, so that a model that only writes digits comes to an end.
    "integer": '"-"? ("0" | [1-9] [0-9]{0,15})',
    "number": 'integer ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,3})?',
    "boolean": '"true" | "false"',
    "null": '"null"',
    "character": r'[^"\\\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4})',
    "string": r'"\"" character* "\""',
    "object": r'"{" (string ": " value (", " string ": " value)*)? "}"',
    "array": '"[" (value (", " value)*)? "]"',
    "value": "object | array | string | number | boolean | null",
}


def literal(text: str) -> str:
    """`text` as a literal of a grammar."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    for char, escape in (("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        escaped = escaped.replace(char, escape)
    return f'"{escaped}"'


class Rules:
    """The rules of one grammar, as they are needed."""

    def __init__(self) -> None:
        self.named: dict[str, str] = {}
        self._references: dict[tuple[int, str], str] = {}
        self._depth = 0

    def text(self, root: str) -> str:
        rules = {"root": root, **self.named, **PRIMITIVES}
        return "".join(f"{name} ::= {expression}\n" for name, expression in rules.items())

    def add(self, prefix: str, expression: str) -> str:
        """A new rule's name."""
        if len(self.named) >= MAX_RULES:
            raise _too_large(f"more than {MAX_RULES} rules")
        name = f"{prefix}{len(self.named)}"
        self.named[name] = expression
        return name

    def json(self, schema: Any, root: Mapping[str, Any]) -> str:
        """A JSON value of `schema`, whose references point into `root`."""
        if not isinstance(schema, Mapping):
            return "value"
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _too_large(f"schemas nested deeper than {MAX_DEPTH}")
        try:
            return self._json(schema, root)
        finally:
            self._depth -= 1

    def resolved(self, schema: Any, root: Mapping[str, Any]) -> Any:
        """The schema behind `$ref`s."""
        for _ in range(MAX_DEPTH):
            if not (isinstance(schema, Mapping) and isinstance(schema.get("$ref"), str)):
                return schema
            schema = _referenced(schema["$ref"], root)
        raise _too_large("references that lead back to themselves")

    def _json(self, schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
        if isinstance(schema.get("$ref"), str):
            return self._reference(schema["$ref"], root)
        if "const" in schema:
            return literal(json.dumps(schema["const"], ensure_ascii=False))
        if isinstance(constants := schema.get("enum"), list) and constants:
            return _any(literal(json.dumps(each, ensure_ascii=False)) for each in constants)
        for choice in ("anyOf", "oneOf"):
            if isinstance(choices := schema.get(choice), list) and choices:
                return _any(self.json(each, root) for each in choices)
        if isinstance(parts := schema.get("allOf"), list) and parts:
            return self.json(
                _merged([schema, *(self.resolved(each, root) for each in parts)]), root
            )
        declared = schema.get("type", _inferred(schema))
        if isinstance(declared, list):
            return _any(self.json({**schema, "type": each}, root) for each in declared)
        if declared == "object":
            return self._object(schema, root)
        if declared == "array":
            return self._array(schema, root)
        return declared if declared in PRIMITIVES else "value"

    def _reference(self, target: str, root: Mapping[str, Any]) -> str:
        key = (id(root), target)
        if key not in self._references:
            # Named before it is read: a schema may hold itself.
            name = self._references[key] = self.add("reference", "")
            self.named[name] = self.json(self.resolved(_referenced(target, root), root), root)
        return self._references[key]

    def _object(self, schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
        properties = schema.get("properties")
        if not isinstance(properties, Mapping) or not properties:
            values = schema.get("additionalProperties", "properties" not in schema)
            if values is False:
                return '"{}"'
            value = self.json(values, root)
            pair = f'string ": " {value}'
            return f'("{{" ({pair} (", " {pair})*)? "}}")'
        required = schema.get("required")
        required = required if isinstance(required, Sequence) else ()
        first, later = '"}"', '"}"'
        for name, value in reversed(list(properties.items())):
            pair = literal(json.dumps(name, ensure_ascii=False) + ": ")
            pair += " " + self.json(value, root)
            # `first`: nothing stands before it yet, so no comma does.
            begins = f"{pair} {later}"
            if name in required:
                first = self.add("first", begins)
                later = self.add("later", f'", " {begins}')
            else:
                first = self.add("first", f"{begins} | {first}")
                later = self.add("later", f'", " {begins} | {later}')
        return f'("{{" {first})'

    def _array(self, schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
        item = self.json(schema.get("items"), root)
        least, most = schema.get("minItems"), schema.get("maxItems")
        least = least if isinstance(least, int) else 0
        if least > MAX_ITEMS:
            raise _too_large(f"an array of at least {least} items, {MAX_ITEMS} are possible")
        if isinstance(most, int) and most < 1:
            return '"[]"'
        upper = str(min(most, MAX_ITEMS) - 1) if isinstance(most, int) else ""
        more = f'(", " {item}){{{max(least - 1, 0)},{upper}}}'
        return f'("[" {item} {more} "]")' if least else f'("[" ({item} {more})? "]")'


def _any(expressions: Any) -> str:
    return "(" + " | ".join(dict.fromkeys(expressions)) + ")"


def _inferred(schema: Mapping[str, Any]) -> str:
    if "properties" in schema:
        return "object"
    return "array" if "items" in schema else "value"


def _merged(parts: Sequence[Any]) -> dict[str, Any]:
    """The schema of `allOf`: objects' properties together, of anything else the last word."""
    merged: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items() if isinstance(part, Mapping) else ():
            if key == "properties" and isinstance(value, Mapping):
                merged[key] = {**merged.get(key, {}), **value}
            elif key == "required" and isinstance(value, list):
                merged[key] = [*merged.get(key, ()), *value]
            elif key != "allOf":
                merged[key] = value
    return merged


def _referenced(target: str, root: Mapping[str, Any]) -> Any:
    place: Any = root
    for step in target.removeprefix("#").split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(place, Mapping) or step not in place:
            raise RequestError(
                f"tools: a schema refers to {target!r}, which is not in it",
                param="tools",
                code="invalid_value",
            )
        place = place[step]
    return place


def _too_large(what: str) -> RequestError:
    return RequestError(
        f"tools: their schemas cannot be enforced: {what}; make them smaller, or leave tool_choice "
        "and strict out",
        param="tools",
        code="invalid_value",
    )
