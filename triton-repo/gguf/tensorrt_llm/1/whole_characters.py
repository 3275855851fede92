"""Cuts an answer's tokens where its text has whole characters, so that each part can be decoded.

A token may be one byte of a character, and the text of a token may depend on the one before it
(SentencePiece drops the first space). So each part comes with its context: the tokens to decode in
front of it and to take away again. Postprocessing needs no memory of the answer, then.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable, Sequence
from typing import NamedTuple


class TextPart(NamedTuple):
    context_ids: Sequence[int]
    ids: Sequence[int]


class WholeCharacters:
    """`spell` gives a token's bytes; none for a control token, which has no text."""

    def __init__(self, spell: Callable[[int], bytes]) -> None:
        self._spell = spell
        self._utf8 = getincrementaldecoder("utf-8")("replace")
        self._context: list[int] = []
        self._ids: list[int] = []
        self._has_text = False

    def feed(self, tokens: Sequence[int], *, final: bool) -> TextPart:
        """The part to decode now; empty while a character is incomplete, everything if `final`."""
        for token in tokens:
            self._ids.append(token)
            if spelled := self._spell(token):
                self._utf8.decode(spelled)
                self._has_text = True
        unfinished, _ = self._utf8.getstate()
        if unfinished and not final:
            return TextPart(self._context, ())
        return self._cut()

    def _cut(self) -> TextPart:
        part = TextPart(self._context, self._ids)
        # Text after a control token alone would lose its space.
        if self._has_text:
            self._context = self._ids
        self._ids, self._has_text = [], False
        return part
