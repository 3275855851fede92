"""How deep JSON may be nested, and of how many parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from enginix.errors import RequestError

# What is read may have to be written again, in a schema or a response. orjson writes 254 levels;
# before 3.12 it corrupted the heap from some 180 on. No client's schema comes near this limit.
DEEPEST = 100
# Objects and lists: each becomes up to a kilobyte where it is checked, and a body has room for
# millions of empty ones. A conversation of 4,096 messages with tools has some 20,000.
MOST_PARTS = 100_000


def check_nesting(data: Any) -> None:
    """Raise RequestError for a document that is too deep, or has too many parts."""
    parts = 0
    for depth, level in enumerate(_levels(data)):
        parts += len(level)
        if depth == DEEPEST:
            raise too_deep()
        if parts > MOST_PARTS:
            raise RequestError(
                f"the body has more than {MOST_PARTS} objects and lists; send fewer",
                code="too_many_parts",
            )


def is_deep(data: Any) -> bool:
    """Whether JSON is nested deeper than what can be written again."""
    return any(depth == DEEPEST for depth, _ in enumerate(_levels(data)))


def too_deep() -> RequestError:
    return RequestError(
        f"the body is nested more than {DEEPEST} levels deep; send a flatter one",
        code="invalid_json",
    )


def _levels(data: Any) -> Iterator[list[Any]]:
    """The objects and lists of each level, from the outermost."""
    level = _parts([data])
    while level:
        yield level
        level = _parts(
            child for part in level for child in (part.values() if part.__class__ is dict else part)
        )


def _parts(values: Any) -> list[Any]:
    return [value for value in values if value.__class__ is dict or value.__class__ is list]
