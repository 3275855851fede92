"""Turns one answer's token ids into text, in whole characters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

UNFINISHED = "\N{REPLACEMENT CHARACTER}"

# A character has at most four bytes, so no more tokens than that with text of their own. Bytes
# that never become one must not make a stream wait for its end.
MOST_HELD = 16


class TextStream:
    """Decodes each part behind the one before it: what a token reads as may depend on that.

    The cost of a token does not grow with the text so far.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._context: list[int] = []
        self._held: list[int] = []

    def feed(self, ids: Sequence[int]) -> str:
        """The text that is now complete; empty while a character is incomplete."""
        self._held += ids
        text = self._text()
        if text.endswith(UNFINISHED) and len(self._held) < MOST_HELD:
            return ""
        self._cut(text)
        return text

    def finish(self) -> str:
        """Release what was held back: no more bytes will come."""
        text = self._text()
        self._cut(text)
        return text

    def _text(self) -> str:
        """The text that the held tokens add to that of their context."""
        if not self._held:
            return ""
        before = self._decode(self._context) if self._context else ""
        text = self._decode([*self._context, *self._held])
        # Invalid bytes can change how the bytes before them decode.
        return text.removeprefix(before) if text.startswith(before) else self._decode(self._held)

    def _cut(self, text: str) -> None:
        # Text after a control token alone would lose its space.
        if text:
            self._context = self._held
        self._held = []
