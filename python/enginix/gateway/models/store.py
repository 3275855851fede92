"""Remembers answers for a while: the newest ones, in this process's memory, within a size."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from enginix.errors import ResourceNotFound


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response as it was sent, and the conversation up to and with it."""

    body: bytes
    messages: Sequence[Mapping[str, Any]]
    input_items: bytes
    size: int
    tools: Sequence[Any] = ()
    """Those that the input brought, for the responses that go on from this one."""
    item_ids: tuple[str, ...] = ()


class ResponseStore:
    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._stored: OrderedDict[str, StoredResponse] = OrderedDict()
        self._items: dict[str, str] = {}
        """An output item's id -> its response's."""

    def put(self, id: str, response: StoredResponse) -> None:
        if response.size > self._most_bytes:
            return
        self._stored[id] = response
        self._items |= dict.fromkeys(response.item_ids, id)
        self._bytes += response.size
        while self._bytes > self._most_bytes or len(self._stored) > self._most:
            _, oldest = self._stored.popitem(last=False)
            self._forget(oldest)

    def get(self, id: str, param: str = "response_id") -> StoredResponse:
        try:
            return self._stored[id]
        except KeyError:
            raise ResourceNotFound(
                f"no response {id[:80]!r} is stored here; the newest {self._most} are, until this "
                "server ends; send the whole conversation as input instead",
                param=param,
                code="response_not_found",
            ) from None

    def remove(self, id: str) -> None:
        self._forget(self.get(id))
        del self._stored[id]

    def item(self, id: str) -> Mapping[str, Any] | None:
        """An item of an answer that is stored, as it was sent."""
        if id not in self._items:
            return None
        output = orjson.loads(self._stored[self._items[id]].body)["output"]
        return next((item for item in output if item["id"] == id), None)

    def _forget(self, response: StoredResponse) -> None:
        self._bytes -= response.size
        for item in response.item_ids:
            self._items.pop(item, None)
