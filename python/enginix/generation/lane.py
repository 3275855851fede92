"""The shortest way of a token: from the read that brought it to its client's transport."""

from __future__ import annotations

from collections.abc import Callable, Mapping


class Lane:
    """What a transport needs to look a token up itself, without a call to each part on its way.

    A message of `size` bytes that begins with `head` holds one token id after it and nothing else
    of interest. While `texts` has its bytes, the transport may collect these, and hands what one
    read brought to `pass_on`. Every other message goes the long way, which may change all this.
    """

    __slots__ = ("head", "pass_on", "size", "texts")

    def __init__(self, pass_on: Callable[[list[bytes]], None]) -> None:
        self.pass_on = pass_on
        self.head = b""
        self.size = 0
        self.texts: Mapping[int, bytes | None] | None = None
        """None while every token must go the long way."""
