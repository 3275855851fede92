"""Token ids to events: detokenization, the reply parser and stop strings, in this order."""

from __future__ import annotations

from collections.abc import Sequence

from enginix.chat.events import Event
from enginix.chat.pieces import PlainEvents
from enginix.chat.reply import ReplyParser
from enginix.chat.stop import AnswerStop
from enginix.chat.tokens import TextStream


class ReplyStream:
    """One reply from its tokens; `stopped_by` is the stop string that ended it."""

    __slots__ = ("_parser", "_stop", "_text")

    def __init__(self, text: TextStream, stop: AnswerStop, parser: ReplyParser) -> None:
        self._text = text
        self._stop = stop
        self._parser = parser

    @property
    def stopped_by(self) -> str | None:
        return self._stop.matched

    @property
    def marker(self) -> str | None:
        """The marker that opened the current block."""
        return self._parser.marker

    @property
    def plain(self) -> PlainEvents | None:
        """Events that `feed` would make of the next tokens, and nothing would change by it."""
        pieces, how = self._text.pieces, self._parser.plain
        if pieces is None or how is None or self._stop.looks:
            return None
        return pieces.plain(how)

    def feed(self, ids: Sequence[int]) -> list[Event]:
        text = self._text.feed(ids)
        return self._stop.feed(self._parser.feed(text)) if text else []

    def finish(self, *, cut: bool = False) -> list[Event]:
        """Release what each step held back, through the steps after it."""
        if self._stop.matched is not None:
            return []
        return self._stop.feed(self._parser.finish(cut=cut)) + self._stop.finish()
