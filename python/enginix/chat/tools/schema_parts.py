"""Finds its way in JSON schemas: references, and what several parts say of one object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Of references that lead to references, and of parts inside each other.
MAX_DEPTH = 32
# Of a schema, where not all need be looked at: a few bytes can stand for millions.
MOST_VARIANTS = 100
CHOICES = ("anyOf", "oneOf")


class BadReference(Exception):
    """The words are what is wrong with it."""


def resolved(schema: Any, root: Mapping[str, Any]) -> Any:
    """The schema behind `$ref`s. Raises BadReference."""
    for _ in range(MAX_DEPTH):
        if not (isinstance(schema, Mapping) and isinstance(schema.get("$ref"), str)):
            return schema
        schema = referenced(schema["$ref"], root)
    raise BadReference("references that lead back to themselves")


def referenced(target: str, root: Mapping[str, Any]) -> Any:
    place: Any = root
    for step in target.removeprefix("#").split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(place, list) and step.isdecimal() and int(step[:9]) < len(place):
            place = place[int(step[:9])]
        elif isinstance(place, Mapping) and step in place:
            place = place[step]
        else:
            raise BadReference(f"a reference to {target!r}, which is not in it")
    if not target.startswith("#") or (place is root and target != "#"):
        raise BadReference(f"a reference to {target!r}, which is not in it")
    return place


def parts(
    schema: Any, root: Mapping[str, Any], seen: set[str] | None = None
) -> Iterator[Mapping[str, Any]]:
    """The schema and those that it says must hold as well, each once. Raises BadReference."""
    seen = set() if seen is None else seen
    if not isinstance(schema, Mapping):
        return
    yield schema
    target = schema.get("$ref")
    if isinstance(target, str) and target not in seen:
        # Schemas that name each other twice would double at every step.
        seen.add(target)
        yield from parts(referenced(target, root), root, seen)
    for each in listed(schema, "allOf"):
        yield from parts(each, root, seen)


def listed(schema: Mapping[str, Any], keyword: str) -> Sequence[Any]:
    """The schemas under a keyword; none where it is not there, or is no list."""
    value = schema.get(keyword)
    return value if isinstance(value, list) else ()


def merged(schemas: Sequence[Any]) -> dict[str, Any]:
    """One schema of several: objects' properties together, of anything else the last word."""
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
    """The schemas, without references and choices at their top, one of which must hold."""
    if depth > MAX_DEPTH:
        raise BadReference("choices that lead back to themselves")
    whole = merged(list(parts(schema, root)))
    for keyword in CHOICES:
        if choices := listed(whole, keyword):
            rest = {key: value for key, value in whole.items() if key != keyword}
            for each in choices:
                yield from variants(merged([rest, *parts(each, root)]), root, depth + 1)
            return
    yield whole


def described_properties(schema: Mapping[str, Any]) -> dict[str, Any]:
    """An object's properties, those included that are required and not described."""
    properties, required = schema.get("properties"), schema.get("required")
    named = dict(properties) if isinstance(properties, Mapping) else {}
    for name in required if isinstance(required, list) else ():
        if isinstance(name, str):
            named.setdefault(name, True)
    return named
