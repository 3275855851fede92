"""Token ids to events: detokenization, stop strings and the reply parser in their one order."""

from __future__ import annotations

from collections.abc import Sequence

from enginix.chat.events import Event
from enginix.chat.reply import ReplyParser
from enginix.chat.stop import StopStrings
from enginix.chat.tokens import TextStream


class ReplyStream:
    """One reply from its tokens; `stopped_by` names the stop string that ended it."""

    __slots__ = ("_parser", "_stop", "_text")

    def __init__(self, text: TextStream, stop: StopStrings, parser: ReplyParser) -> None:
        self._text = text
        self._stop = stop
        self._parser = parser

    @property
    def stopped_by(self) -> str | None:
        return self._stop.matched

    def feed(self, ids: Sequence[int]) -> list[Event]:
        text = self._stop.feed(self._text.feed(ids))
        return self._parser.feed(text) if text else []

    def finish(self, *, cut: bool = False) -> list[Event]:
        """Release what each step held back, through the steps behind it."""
        return self._parser.feed(self._stop.finish()) + self._parser.finish(cut=cut)
