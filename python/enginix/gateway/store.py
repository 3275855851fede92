"""Remembers answers for a while: the newest ones, in this process's memory, within a size."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from enginix.errors import ResourceNotFound


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response as it was sent, and the conversation up to and with it."""

    body: bytes
    messages: Sequence[Mapping[str, Any]]
    input_items: bytes
    size: int


class ResponseStore:
    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._stored: OrderedDict[str, StoredResponse] = OrderedDict()

    def put(self, id: str, response: StoredResponse) -> None:
        if response.size > self._most_bytes:
            return
        self._stored[id] = response
        self._bytes += response.size
        while self._bytes > self._most_bytes or len(self._stored) > self._most:
            _, oldest = self._stored.popitem(last=False)
            self._bytes -= oldest.size

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
        self._bytes -= self.get(id).size
        del self._stored[id]
