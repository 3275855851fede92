"""Navigates JSON schemas: references, and several schemas that describe one object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Maximum depth of chained references and of nested parts.
MAX_DEPTH = 32
# How many variants of a schema to visit: a few bytes can encode millions.
MAX_VARIANTS = 100
CHOICES = ("anyOf", "oneOf")


class BadReference(Exception):
    """A reference that cannot be followed; the message says why."""


def resolved(schema: Any, root: Mapping[str, Any]) -> Any:
    """The schema after following `$ref`s. Raises BadReference."""
    for _ in range(MAX_DEPTH):
        if not (isinstance(schema, Mapping) and isinstance(schema.get("$ref"), str)):
            return schema
        schema = referenced(schema["$ref"], root)
    raise BadReference("references that form a cycle")


def referenced(target: str, root: Mapping[str, Any]) -> Any:
    found: Any = root
    for step in target.removeprefix("#").split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and step.isdecimal() and int(step[:9]) < len(found):
            found = found[int(step[:9])]
        elif isinstance(found, Mapping) and step in found:
            found = found[step]
        else:
            raise BadReference(f"a reference to {target!r}, which is not in it")
    if not target.startswith("#") or (found is root and target != "#"):
        raise BadReference(f"a reference to {target!r}, which is not in it")
    return found


def parts(
    schema: Any, root: Mapping[str, Any], seen: set[str] | None = None
) -> Iterator[Mapping[str, Any]]:
    """The schema and all schemas it requires as well, each once. Raises BadReference."""
    seen = set() if seen is None else seen
    if not isinstance(schema, Mapping):
        return
    yield schema
    target = schema.get("$ref")
    if isinstance(target, str) and target not in seen:
        # Visiting schemas that reference each other twice would double at every step.
        seen.add(target)
        yield from parts(referenced(target, root), root, seen)
    for each in listed(schema, "allOf"):
        yield from parts(each, root, seen)


def listed(schema: Mapping[str, Any], keyword: str) -> Sequence[Any]:
    """The schemas under a keyword; empty if it is absent or not a list."""
    value = schema.get(keyword)
    return value if isinstance(value, list) else ()


def merged(schemas: Sequence[Any]) -> dict[str, Any]:
    """Merge schemas: the properties of objects together; otherwise the last value wins."""
    whole: dict[str, Any] = {}
    for part in schemas:
        for key, value in part.items() if isinstance(part, Mapping) else ():
            if key == "properties" and isinstance(value, Mapping):
                whole[key] = {**whole.get(key, {}), **value}
            elif key == "required" and isinstance(value, list):
                whole[key] = [*whole.get(key, ()), *value]
            elif key not in ("allOf", "$ref", "properties", "required"):
                whole[key] = value
    return whole


def variants(schema: Any, root: Mapping[str, Any], depth: int = 0) -> Iterator[dict[str, Any]]:
    """The schemas, without top-level references and choices, one of which must hold."""
    if depth > MAX_DEPTH:
        raise BadReference("choices that form a cycle")
    whole = merged(list(parts(schema, root)))
    for keyword in CHOICES:
        if choices := listed(whole, keyword):
            rest = {key: value for key, value in whole.items() if key != keyword}
            for each in choices:
                yield from variants(merged([rest, *parts(each, root)]), root, depth + 1)
            return
    yield whole


def described_properties(schema: Mapping[str, Any]) -> dict[str, Any]:
    """An object's properties, including required ones without a description."""
    properties, required = schema.get("properties"), schema.get("required")
    named = dict(properties) if isinstance(properties, Mapping) else {}
    for name in required if isinstance(required, list) else ():
        if isinstance(name, str):
            named.setdefault(name, True)
    return named
