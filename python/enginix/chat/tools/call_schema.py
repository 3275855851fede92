"""One JSON schema for a call of any of a request's functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    parameters: Mapping[str, Any]
    """The JSON schema of its arguments."""


def any_call(
    functions: Sequence[Function],
    arguments: str,
    *,
    listed: bool = False,
    one_call: bool = False,
    answer: Any = None,
) -> dict[str, Any]:
    """`{"name": ..., ARGUMENTS: ...}` for one of `functions`, or with `listed` a list of them.

    `answer` is the schema of what may stand there instead of a call.
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
    """The schema with objects that have no other properties than those they name.

    JSON Schema allows others by default; a small model would invent them until its tokens ran out.
    """
    if isinstance(schema, list):
        return [closed(value) for value in schema]
    if not isinstance(schema, Mapping):
        return schema
    inner = {key: _closed_inside(key, value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), Mapping) and not OPEN.intersection(schema):
        inner["additionalProperties"] = False
    return inner


def _closed_inside(keyword: str, value: Any) -> Any:
    if keyword in DATA:
        return value
    if keyword in NAMED and isinstance(value, Mapping):
        return {name: closed(each) for name, each in value.items()}
    return closed(value)


# Keywords whose values are data, and those whose values are schemas by names of any kind.
DATA = frozenset(("const", "default", "enum", "examples", "required"))
NAMED = frozenset(("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"))
# Keywords that say themselves which other properties there may be.
OPEN = frozenset(
    ("additionalProperties", "allOf", "patternProperties", "unevaluatedProperties", "$ref")
)


def _placed(schema: Any, name: str, definitions: dict[str, Any]) -> Any:
    """`schema` for use inside another: its references to itself must find their way."""
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
