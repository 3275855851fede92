"""Compares a JSON value with the shapes of tests/recordings/shapes and lists every difference.

A shape is a table of fields. `name?` may be absent; every other field must be there. A field that
the shape does not name is a fault, unless the shape has `*`. Types are written `string`, `integer`,
`number`, `boolean`, `null`, `any`, 'a literal', [a list's items], {a map's values}, or another
shape's name, with `|` between alternatives.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).parent.parent / "recordings" / "shapes"
PLAIN: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "any": (object,),
}
# The field that says which of several shapes an object has.
TAGS = ("type", "object")

Shape = dict[str, str]


@cache
def shapes() -> dict[str, Shape]:
    """All shapes by name, without the names of their source types."""
    found: dict[str, Shape] = {}
    for file in sorted(DIRECTORY.glob("*.json")):
        for name, shape in json.loads(file.read_text(encoding="utf-8")).items():
            assert name not in found, f"two shapes are named {name}"
            found[name] = {key: kind for key, kind in shape.items() if key != "sdk"}
    return found


def faults(value: Any, kind: str, where: str = "") -> list[str]:
    """Every path at which `value` is not of `kind`."""
    choices = alternatives(kind)
    alike = [choice for choice in choices if _may_be(value, choice)]
    for choice in choices:
        differs = _faults(value, choice, where)
        if not differs:
            return []
        if len(choices) == 1 or alike == [choice] or _is_meant(value, choice):
            return differs
    return [f"{where or 'it'}: expected {kind}, got {_short(value)}"]


@cache
def alternatives(kind: str) -> tuple[str, ...]:
    """Split a type at each `|` outside brackets and literals."""
    parts, depth, quoted, start = [], 0, False, 0
    for place, character in enumerate(kind):
        if character == "'":
            quoted = not quoted
        elif not quoted and character in "[{":
            depth += 1
        elif not quoted and character in "]}":
            depth -= 1
        elif character == "|" and not quoted and not depth:
            parts.append(kind[start:place])
            start = place + 1
    return (*parts, kind[start:])


def _faults(value: Any, kind: str, where: str) -> list[str]:
    if kind in PLAIN:
        fits = isinstance(value, PLAIN[kind]) and not (
            isinstance(value, bool) and kind in ("integer", "number")
        )
    elif kind[0] == "'":
        fits = value == kind[1:-1]
    elif kind[0] == "[" and isinstance(value, list):
        return _all(faults(one, kind[1:-1], f"{where}[{n}]") for n, one in enumerate(value))
    elif kind[0] == "{" and isinstance(value, dict):
        return _all(faults(one, kind[1:-1], f"{where}.{key}") for key, one in value.items())
    elif kind[0] not in "[{" and isinstance(value, dict):
        return _object_faults(value, shapes()[kind], kind, where)
    else:
        fits = False
    return [] if fits else [f"{where or 'it'}: expected {kind}, got {_short(value)}"]


def _object_faults(value: dict[str, Any], shape: Shape, name: str, where: str) -> list[str]:
    found = []
    known = {key.removesuffix("?"): kind for key, kind in shape.items()}
    for key in shape:
        if key not in value and not key.endswith("?") and key != "*":
            found.append(f"{where}.{key}: {name} must have it")
    for key, one in value.items():
        kind = known.get(key, known.get("*"))
        if kind is None:
            found.append(f"{where}.{key}: {name} has no such field")
        else:
            found += faults(one, kind, f"{where}.{key}")
    return found


def _may_be(value: Any, kind: str) -> bool:
    """Whether a value of that JSON type can be of this kind."""
    if isinstance(value, list):
        return kind[0] == "["
    return isinstance(value, dict) and (kind in shapes() or kind[0] == "{")


def _is_meant(value: Any, kind: str) -> bool:
    shape = shapes().get(kind)
    if shape is None or not isinstance(value, dict):
        return False
    return any(tag in shape and value.get(tag) == shape[tag].strip("'") for tag in TAGS)


def _all(parts: Any) -> list[str]:
    return [fault for part in parts for fault in part]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 120 else f"{text[:117]}..."
