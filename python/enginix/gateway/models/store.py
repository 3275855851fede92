"""Stores the newest responses in this process's memory, up to a number and a total size."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from enginix.errors import ResourceNotFound


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response as sent, and the conversation up to and including it."""

    body: bytes
    messages: Sequence[Mapping[str, Any]]
    input_items: bytes
    size: int
    tools: Sequence[Any] = ()
    """Tools declared in the input, for responses that continue this one."""
    item_ids: tuple[str, ...] = ()


class ResponseStore:
    def __init__(self, max_responses: int, max_bytes: int) -> None:
        self._max_responses = max_responses
        self._max_bytes = max_bytes
        self._bytes = 0
        self._stored: OrderedDict[str, StoredResponse] = OrderedDict()
        self._items: dict[str, str] = {}
        """An output item's id -> the id of its response."""

    def put(self, id: str, response: StoredResponse) -> None:
        if response.size > self._max_bytes:
            return
        self._stored[id] = response
        self._items |= dict.fromkeys(response.item_ids, id)
        self._bytes += response.size
        while self._bytes > self._max_bytes or len(self._stored) > self._max_responses:
            _, oldest = self._stored.popitem(last=False)
            self._forget(oldest)

    def has(self, id: object) -> bool:
        return isinstance(id, str) and id in self._stored

    def get(self, id: str, param: str = "response_id") -> StoredResponse:
        try:
            return self._stored[id]
        except KeyError:
            raise ResourceNotFound(
                f"no response {id[:80]!r} is stored here; this server keeps "
                f"the newest {self._max_responses} until it ends; send the whole conversation as "
                "input instead",
                param=param,
                code="response_not_found",
            ) from None

    def remove(self, id: str) -> None:
        self._forget(self.get(id))
        del self._stored[id]

    def item(self, id: str) -> Mapping[str, Any] | None:
        """An item of a stored response, as sent."""
        if id not in self._items:
            return None
        output = orjson.loads(self._stored[self._items[id]].body)["output"]
        return next((item for item in output if item["id"] == id), None)

    def _forget(self, response: StoredResponse) -> None:
        self._bytes -= response.size
        for item in response.item_ids:
            self._items.pop(item, None)
