"""The shortest way of a token: from the read that brought it to its client's transport."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Lane:
    """What a transport needs to look a token up itself, without a call to each part on its way.

    A message of `size` bytes that begins with `head` holds one token id after it and nothing else
    of interest. While `texts` has its text, the transport may collect that, and hands what one read
    brought to `pass_on`. Every other message goes the long way, which may change all this.
    """

    __slots__ = ("head", "size", "texts")

    def __init__(self) -> None:
        self.head = b""
        self.size = 0
        self.texts: Mapping[int, Any] | None = None
        """None while every token must go the long way."""

    def pass_on(self, found: list[Any]) -> None:
        raise NotImplementedError
