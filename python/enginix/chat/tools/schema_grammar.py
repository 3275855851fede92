"""JSON schemas as EBNF rules, for JSON values inside a format that is not JSON.

What a grammar cannot express (`pattern`, `format`, numeric bounds, string lengths) is left out:
the value has the right form, and its receiver must check the rest anyway.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from enginix.chat.tools import schema_parts
from enginix.chat.tools.schema_parts import (
    CHOICES,
    MAX_DEPTH,
    BadReference,
    described_properties,
    listed,
    merged,
    parts,
)
from enginix.errors import RequestError

# Limits of array bounds and of rules, because engines unroll them.
MAX_ITEMS = 1000
MAX_RULES = 6000
MAX_SCHEMAS = 20_000
# What a schema states about a value's form next to its choices.
STRUCTURE = ("type", "properties", "required", "items", "prefixItems", "additionalProperties")

PRIMITIVES = {
    # Bounded, so that a model that only generates digits terminates.
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
    """Quote `text` as a literal of a grammar."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    for char, escape in (("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        escaped = escaped.replace(char, escape)
    return f'"{escaped}"'


class Rules:
    """Collects the rules of one grammar."""

    def __init__(self) -> None:
        self.named: dict[str, str] = {}
        self._same: dict[tuple[str, str], str] = {}
        self._references: dict[tuple[int, str], str] = {}
        self._depth = 0
        self._schemas = 0

    def text(self, root: str) -> str:
        rules = {"root": root, **self.named, **PRIMITIVES}
        return "".join(f"{name} ::= {expression}\n" for name, expression in rules.items())

    def add(self, prefix: str, expression: str) -> str:
        """The name of a rule; functions with the same parameters share their rules."""
        known = self._same.get((prefix, expression))
        return known or self._same.setdefault((prefix, expression), self._new(prefix, expression))

    def _new(self, prefix: str, expression: str) -> str:
        if len(self.named) >= MAX_RULES:
            raise _too_large(f"more than {MAX_RULES} rules")
        name = f"{prefix}{len(self.named)}"
        self.named[name] = expression
        return name

    def json(self, schema: Any, root: Mapping[str, Any]) -> str:
        """A JSON value of `schema`, whose references resolve in `root`."""
        if not isinstance(schema, Mapping):
            return "value"
        self._depth += 1
        self._schemas += 1
        if self._schemas > MAX_SCHEMAS:
            raise _too_large(f"more than {MAX_SCHEMAS} schemas")
        if self._depth > MAX_DEPTH:
            raise _too_large(f"schemas nested deeper than {MAX_DEPTH}")
        try:
            return self._json(schema, root)
        finally:
            self._depth -= 1

    def resolved(self, schema: Any, root: Mapping[str, Any]) -> Any:
        """The schema after following `$ref`s."""
        try:
            return schema_parts.resolved(schema, root)
        except BadReference as error:
            raise _impossible(str(error)) from None

    def variants(self, schema: Any, root: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Like schema_parts.variants, with errors as RequestError."""
        try:
            yield from schema_parts.variants(schema, root)
        except BadReference as error:
            raise _impossible(str(error)) from None

    def _json(self, schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
        if isinstance(schema.get("$ref"), str):
            return self._reference(schema["$ref"], root)
        if "const" in schema:
            return literal(json.dumps(schema["const"], ensure_ascii=False))
        if isinstance(constants := schema.get("enum"), list):
            if not constants:
                raise _impossible("an enum without values")
            return _any(literal(json.dumps(each, ensure_ascii=False)) for each in constants)
        for keyword in CHOICES:
            if choices := listed(schema, keyword):
                rest = {key: schema[key] for key in STRUCTURE if key in schema}
                return _any(self._choice(rest, each, root) for each in choices)
        if listed(schema, "allOf"):
            try:
                return self.json(merged(list(parts(schema, root))), root)
            except BadReference as error:
                raise _impossible(str(error)) from None
        declared = schema.get("type", _inferred(schema))
        if isinstance(declared, list) and declared:
            return _any(self.json({**schema, "type": each}, root) for each in declared)
        if declared == "object":
            return self._object(schema, root)
        if declared == "array":
            return self._array(schema, root)
        return declared if isinstance(declared, str) and declared in PRIMITIVES else "value"

    def _choice(self, rest: Mapping[str, Any], choice: Any, root: Mapping[str, Any]) -> str:
        """One of a schema's choices, combined with the keywords next to them."""
        referring = isinstance(choice, Mapping) and "$ref" in choice
        if not rest or (referring and rest.keys() == {"type"}):
            return self.json(choice, root)
        return self.json(merged([rest, self.resolved(choice, root)]), root)

    def _reference(self, target: str, root: Mapping[str, Any]) -> str:
        key = (id(root), target)
        if key not in self._references:
            # Register the name before reading it: a schema may contain itself.
            name = self._references[key] = self._new("reference", "")
            self.named[name] = self.json(self.resolved({"$ref": target}, root), root)
        return self._references[key]

    def _object(self, schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
        properties = described_properties(schema)
        if not properties:
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
            # `first`: nothing precedes it, so it has no comma.
            start = f"{pair} {later}"
            if name in required:
                first = self.add("first", start)
                later = self.add("later", f'", " {start}')
            else:
                first = self.add("first", f"{start} | {first}")
                later = self.add("later", f'", " {start} | {later}')
        return f'("{{" {first})'

    def _array(self, schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
        if first := listed(schema, "prefixItems"):
            return self._tuple(first, schema.get("items"), schema, root)
        if first := listed(schema, "items"):
            # The form of drafts before 2020.
            return self._tuple(first, schema.get("additionalItems"), schema, root)
        item = self.json(schema.get("items"), root)
        least, most = schema.get("minItems"), schema.get("maxItems")
        least = least if isinstance(least, int) else 0
        if least > MAX_ITEMS:
            raise _too_large(f"an array of at least {least} items, the maximum is {MAX_ITEMS}")
        if isinstance(most, int) and most < 1:
            return '"[]"'
        upper = str(min(most, MAX_ITEMS) - 1) if isinstance(most, int) else ""
        more = f'(", " {item}){{{max(least - 1, 0)},{upper}}}'
        return f'("[" {item} {more} "]")' if least else f'("[" ({item} {more})? "]")'

    def _tuple(
        self, first: Sequence[Any], others: Any, schema: Mapping[str, Any], root: Mapping[str, Any]
    ) -> str:
        """An array whose first items each have their own schema."""
        least, most = schema.get("minItems"), schema.get("maxItems")
        least = min(least, MAX_ITEMS) if isinstance(least, int) else 0
        most = min(most, MAX_ITEMS) if isinstance(most, int) else None
        rest = '"]"'
        if others is not False and (most is None or most > len(first)):
            upper = "" if most is None else str(most - len(first))
            others = self.json(others, root)
            rest = f'(", " {others}){{{max(least - len(first), 0)},{upper}}} "]"'
        for position, each in reversed(list(enumerate(first))):
            if most is not None and position >= most:
                continue
            comma = '", " ' if position else ""
            item = f"{comma}{self.json(each, root)} {rest}"
            rest = self.add("item", item if position < least else f'{item} | "]"')
        return f'("[" {rest})'


def _any(expressions: Any) -> str:
    return "(" + " | ".join(dict.fromkeys(expressions)) + ")"


def _inferred(schema: Mapping[str, Any]) -> str:
    if "properties" in schema or "required" in schema:
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "value"


def _too_large(what: str) -> RequestError:
    return _refused(f"{what}; make them smaller, or omit tool_choice and strict")


def _impossible(what: str) -> RequestError:
    return _refused(f"they have {what}; correct them")


def _refused(what: str) -> RequestError:
    return RequestError(
        f"tools: their schemas cannot be enforced: {what}", param="tools", code="invalid_value"
    )
