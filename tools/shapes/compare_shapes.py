"""Compares our table of answers' shapes with the types of the SDKs that are installed.

usage: python tools/shapes/compare_shapes.py [--fields] [DIRECTORY]

Prints what a newer SDK requires that the table lacks, and what the table allows that the SDK does
not know; exits with 1 if there is anything. With --fields also every field that is ours alone, and
every field that the SDK knows and no answer of ours has.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

SHAPES = Path(__file__).parent.parent.parent / "tests" / "recordings" / "shapes"


def main(words: list[str]) -> int:
    places = [Path(word) for word in words if word != "--fields"]
    differences, notes = [], []
    for name, fields, model in with_types(places[0] if places else SHAPES):
        differences += list(compare(name, fields, model))
        notes += list(unshared(name, fields, model))
    for line in [*differences, *(notes if "--fields" in words else ())]:
        print(line)
    if not differences:
        print("every shape holds what the installed SDKs require")
    return 1 if differences else 0


def with_types(directory: Path) -> Iterator[tuple[str, dict[str, str], type[BaseModel]]]:
    """Every shape that an SDK has a type for; a shape may have one in each SDK."""
    for file in sorted(directory.glob("*.json")):
        for name, shape in json.loads(file.read_text(encoding="utf-8")).items():
            types = shape.pop("sdk", [])
            for path in [types] if isinstance(types, str) else types:
                module, _, attribute = path.rpartition(".")
                yield name, shape, getattr(importlib.import_module(module), attribute)


def compare(name: str, fields: dict[str, str], model: type[BaseModel]) -> Iterator[str]:
    """What the SDK would miss in an answer of this shape, or reject."""
    for key, field in model.model_fields.items():
        known = field.alias or key
        if field.is_required() and known not in fields:
            yield f"{name}.{known}: {model.__module__} requires it"
        kind = fields.get(known, fields.get(f"{known}?"))
        if kind is None:
            continue
        allowed = literals(field.annotation)
        unknown = set(re.findall(r"'([^']*)'", kind)) - allowed
        if allowed and unknown and not takes_any_text(field.annotation):
            yield f"{name}.{known}: {model.__module__} does not know {sorted(unknown)}"
        if field.is_required() and "null" in kind.split("|") and not takes_null(field.annotation):
            yield f"{name}.{known}: {model.__module__} takes no null"


def unshared(name: str, fields: dict[str, str], model: type[BaseModel]) -> Iterator[str]:
    """Fields that only one side has, which is no error."""
    theirs = {field.alias or key for key, field in model.model_fields.items()}
    ours = {key.removesuffix("?") for key in fields} - {"*"}
    for key in sorted(ours - theirs):
        yield f"{name}.{key}: ours alone"
    if "*" not in fields:
        for key in sorted(theirs - ours):
            yield f"{name}.{key}: in no answer of ours"


def parts(kind: Any) -> Iterator[Any]:
    """The alternatives of a type, without annotations."""
    origin = get_origin(kind)
    if origin is Annotated:
        yield from parts(get_args(kind)[0])
    elif origin in (Union, UnionType):
        for one in get_args(kind):
            yield from parts(one)
    else:
        yield kind


def literals(kind: Any) -> set[str]:
    found = [one for one in parts(kind) if get_origin(one) is Literal]
    return {str(value) for one in found for value in get_args(one)}


def takes_any_text(kind: Any) -> bool:
    return any(one is str for one in parts(kind))


def takes_null(kind: Any) -> bool:
    return any(one in (NoneType, Any, object) for one in parts(kind))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
