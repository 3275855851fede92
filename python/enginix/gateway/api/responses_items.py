"""The input items of a stored response, each with an id, page by page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from secrets import token_hex
from typing import Any

from enginix.errors import RequestError
from enginix.gateway.api.responses_input import type_of
from enginix.gateway.schema.responses import Item

ItemList = list[dict[str, Any]]

# Type of an item -> what its id begins with.
PREFIXES = {"message": "msg", "function_call": "fc", "reasoning": "rs"}
MOST = 100
USUAL = 20


def input_items(items: str | Sequence[Item]) -> ItemList:
    """In the order they were sent, in the shape that clients read."""
    if isinstance(items, str):
        items = [Item.model_validate({"role": "user", "content": items})]
    return [_whole(item) for item in items]


def page_of(items: ItemList, query: Mapping[str, str]) -> dict[str, Any]:
    """The page that `limit`, `order` and `after` select; newest first by default."""
    limit, order = _limit(query.get("limit")), query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise _wrong("order", "'asc' or 'desc'", order)
    ordered = items if order == "asc" else items[::-1]
    start = _behind(ordered, query.get("after"))
    page = ordered[start : start + limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": start + limit < len(ordered),
    }


def _whole(item: Item) -> dict[str, Any]:
    kind = type_of(item)
    fields = item.model_dump(exclude_unset=True, exclude_none=True)
    whole = {
        "id": f"{PREFIXES.get(kind, 'item')}_{token_hex(16)}",
        "type": kind,
        "status": "completed",
        **fields,
    }
    if kind == "message" and isinstance(text := fields.get("content"), str):
        part = "output_text" if fields.get("role") == "assistant" else "input_text"
        whole["content"] = [{"type": part, "text": text}]
    return whole


def _limit(text: str | None) -> int:
    if text is None:
        return USUAL
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MOST):
        raise _wrong("limit", f"a number from 1 to {MOST}", text)
    return int(text)


def _behind(items: ItemList, after: str | None) -> int:
    if after is None:
        return 0
    for place, item in enumerate(items):
        if item["id"] == after:
            return place + 1
    raise _wrong("after", "the id of one of these items", after)


def _wrong(param: str, expected: str, found: str) -> RequestError:
    return RequestError(f"{param}: expected {expected}, got {found[:80]!r}", param=param)
