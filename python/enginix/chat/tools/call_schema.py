"""One JSON schema that matches a call of any of a request's functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from enginix.chat.tools.schema_parts import CHOICES, BadReference, listed, referenced


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    parameters: Mapping[str, Any]
    """The JSON schema of the arguments."""


def any_call(
    functions: Sequence[Function],
    arguments: str,
    *,
    listed: bool = False,
    one_call: bool = False,
    answer: Any = None,
) -> dict[str, Any]:
    """`{"name": ..., ARGUMENTS: ...}` for one of `functions`; with `listed`, a list of them.

    `answer` is the schema of an alternative to a call.
    """
    definitions: dict[str, Any] = {}
    choices = [
        {
            "type": "object",
            "properties": {
                "name": {"const": function.name},
                arguments: _placed(closed(function.parameters), f"f{place}", definitions),
            },
            "required": ["name", arguments],
            "additionalProperties": False,
        }
        for place, function in enumerate(functions)
    ]
    if answer is not None:
        choices.append(_placed(answer, "answer", definitions))
    schema: dict[str, Any] = choices[0] if len(choices) == 1 else {"anyOf": choices}
    if listed:
        schema = {"type": "array", "items": schema, "minItems": 1}
        if one_call:
            schema["maxItems"] = 1
    return {**schema, "$defs": definitions} if definitions else schema


def closed(schema: Any) -> Any:
    """The schema with objects restricted to the properties they name.

    JSON Schema allows others by default; a small model would invent them until its tokens ran out.
    """
    return _closed(schema, _all_shared_references(schema), "#", shared=False)


def _closed(schema: Any, references: frozenset[str], at: str, *, shared: bool) -> Any:
    """`shared`: other schemas describe the same object, and may name further properties."""
    if isinstance(schema, list):
        return [
            _closed(value, references, f"{at}/{place}", shared=shared)
            for place, value in enumerate(schema)
        ]
    if not isinstance(schema, Mapping):
        return schema
    shared = shared or at in references
    inner: dict[str, Any] = {}
    for keyword, value in schema.items():
        below = (shared and keyword in IN_PLACE) or _shares(schema, keyword)
        if keyword in DATA or keyword in CONDITIONS:
            inner[keyword] = value
        elif keyword in NAMED and isinstance(value, Mapping):
            inner[keyword] = {
                name: _closed(each, references, f"{at}/{keyword}/{_step(name)}", shared=below)
                for name, each in value.items()
            }
        else:
            inner[keyword] = _closed(value, references, f"{at}/{keyword}", shared=below)
    if not shared and _may_be_closed(schema):
        inner["additionalProperties"] = False
    return inner


def _may_be_closed(schema: Mapping[str, Any]) -> bool:
    properties, least = schema.get("properties"), schema.get("minProperties")
    if not isinstance(properties, Mapping) or OPEN.intersection(schema):
        return False
    if any(_names_properties(schema[keyword]) for keyword in IN_PLACE.intersection(schema)):
        return False
    if isinstance(least, int | float) and least > len(properties):
        return False
    # A required property without a description would become impossible.
    return _has_all_required(schema, properties)


def _has_all_required(schema: Any, properties: Mapping[str, Any]) -> bool:
    """Whether an object with no others than `properties` can have what `schema` requires."""
    if not isinstance(schema, Mapping):
        return True
    required = schema.get("required")
    if isinstance(required, list) and not _has_names(properties, required):
        return False
    for keyword in IN_PLACE.intersection(schema):
        below = schema[keyword]
        if keyword == "dependentSchemas" and isinstance(below, Mapping):
            below = [*below.values()]
        below = below if isinstance(below, list) else [below]
        enough = any if keyword in CHOICES and below else all
        if not enough(_has_all_required(each, properties) for each in below):
            return False
    return True


def _has_names(properties: Mapping[str, Any], names: list[Any]) -> bool:
    return all(isinstance(name, str) and name in properties for name in names)


def _names_properties(schema: Any) -> bool:
    if isinstance(schema, list):
        return any(map(_names_properties, schema))
    return isinstance(schema, Mapping) and (
        not OPEN.union(("properties",)).isdisjoint(schema)
        or any(_names_properties(value) for value in schema.values())
    )


def _shares(schema: Mapping[str, Any], keyword: str) -> bool:
    """Whether the schema under `keyword` describes an object that others describe too."""
    if keyword not in IN_PLACE:
        return False
    if keyword not in (*CHOICES, "allOf") or not SHARING.isdisjoint(schema.keys() - {keyword}):
        return True
    several = keyword == "allOf" and len(listed(schema, keyword)) > 1
    return several or _requires_others(schema, keyword)


def _requires_others(schema: Mapping[str, Any], keyword: str) -> bool:
    """Whether a schema requires properties that its parts under `keyword` do not name."""
    required = schema.get("required")
    if not isinstance(required, list):
        return False
    parts = (
        part.get("properties") for part in listed(schema, keyword) if isinstance(part, Mapping)
    )
    named = [_has_names(each, required) for each in parts if isinstance(each, Mapping)]
    return bool(named) and not (any if keyword in CHOICES else all)(named)


def _all_shared_references(schema: Any) -> frozenset[str]:
    """Those in schemas that share an object with others, and where these lead in the same place."""
    found: set[str] = set()
    left = [*_shared_references(schema)]
    while left:
        target = left.pop()
        if target not in found:
            found.add(target)
            with suppress(BadReference):
                left += _shared_references(referenced(target, schema), shared=True)
    return frozenset(found)


def _shared_references(schema: Any, *, shared: bool = False) -> Iterator[str]:
    """The references in schemas that share an object with others."""
    if isinstance(schema, list):
        for value in schema:
            yield from _shared_references(value, shared=shared)
    if not isinstance(schema, Mapping):
        return
    target = schema.get("$ref")
    if isinstance(target, str) and (
        shared or "required" in schema or not SHARING.isdisjoint(schema.keys() - {"$ref"})
    ):
        yield target
    for keyword, value in schema.items():
        below = (shared and keyword in IN_PLACE) or _shares(schema, keyword)
        if keyword in NAMED and isinstance(value, Mapping):
            value = list(value.values())
        if keyword not in DATA:
            yield from _shared_references(value, shared=below)


def _step(name: str) -> str:
    """Escape a name for a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


# Keywords whose values are data, and keywords that map arbitrary names to schemas.
DATA = frozenset(("const", "default", "enum", "examples", "required"))
NAMED = frozenset(("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"))
# Keywords whose schemas describe the object they occur in; conditions stay unchanged.
IN_PLACE = frozenset(("allOf", "anyOf", "oneOf", "then", "else", "dependentSchemas"))
CONDITIONS = frozenset(("if", "not"))
# Keywords that make what stands beside them one of several schemas of an object.
SHARING = IN_PLACE.union(("properties", "$ref"))
# Keywords that already state which other properties are allowed.
OPEN = frozenset(("additionalProperties", "patternProperties", "unevaluatedProperties", "$ref"))


def _placed(schema: Any, name: str, definitions: dict[str, Any]) -> Any:
    """`schema` for use inside another, with its references to itself adjusted."""
    if not _has_reference(schema):
        return schema
    definitions[name] = _moved(schema, f"#/$defs/{name}")
    return {"$ref": f"#/$defs/{name}"}


def _has_reference(schema: Any) -> bool:
    if isinstance(schema, Mapping):
        return "$ref" in schema or any(_has_reference(value) for value in schema.values())
    return isinstance(schema, list) and any(_has_reference(value) for value in schema)


def _moved(schema: Any, root: str) -> Any:
    if isinstance(schema, list):
        return [_moved(value, root) for value in schema]
    if not isinstance(schema, Mapping):
        return schema
    moved = {key: _moved(value, root) for key, value in schema.items()}
    target = schema.get("$ref")
    if isinstance(target, str) and target.startswith("#"):
        moved["$ref"] = root + target[1:]
    return moved
