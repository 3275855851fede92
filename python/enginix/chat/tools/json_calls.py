"""Parses tool calls written as JSON objects with a name and arguments: the core of most formats.

Objects may come one by one, separated, or in a list. Arguments stream as the model writes them.
An object that turns out not to be a call before its arguments start is returned as answer text.
"""

from __future__ import annotations

from enginix.chat.blocks import Opening
from enginix.chat.events import Answer, Event
from enginix.chat.tools.calls import Calls, ToolFormat
from enginix.chat.tools.json_call import JsonCall

_BEFORE_CALLS = " \t\r\n["
_AFTER_CALLS = " \t\r\n,;]}"


def json_between(opening: str, closing: str) -> ToolFormat:
    """The format whose calls stand between these two markers."""
    return ToolFormat(
        (opening, closing),
        lambda calls: (Opening(opening, lambda: JsonCalls(opening, closing, calls)),),
    )


class JsonCalls:
    """The block between `opening` and `closing`; without `closing` it ends where no call follows.

    With `bare` the opening is the first brace of a call. A `silent` opening is a special
    token: it stays out of the answer even if no call follows.
    """

    __slots__ = ("_bare", "_call", "_calls", "_count", "_held", "_markers", "_raw", "done", "rest")

    def __init__(
        self,
        opening: str,
        closing: str | None,
        calls: Calls,
        *,
        bare: bool = False,
        silent: bool = False,
    ) -> None:
        self.done = False
        self.rest = ""
        self._bare = bare
        self._calls = calls
        self._call: JsonCall | None = None
        self._count = 0
        # Models forget the closing marker and open the next call: accept it as a separator.
        self._markers = [(closing, True)] if closing else []
        self._markers += [] if bare else [(opening, False)]
        self._held = opening if bare else ""
        self._raw = "" if bare or silent else opening

    def feed(self, text: str) -> list[Event]:
        text, self._held = self._held + text, ""
        events: list[Event] = []
        at = 0
        while at < len(text) and not self.done:
            at = self._inside(text, at, events) if self._call else self._between(text, at, events)
        return events

    def finish(self) -> list[Event]:
        call, raw = self._call, self._raw + self._held
        if call and call.started:
            return []
        # A partial marker after the last call is dropped; text that is not a call is returned.
        return [Answer(raw)] if raw and (call or not self._count) else []

    def _between(self, text: str, at: int, events: list[Event]) -> int:
        for marker, ends in self._markers if self._count else self._markers[-1:]:
            if text.startswith(marker, at):
                return self._end(text, at + len(marker)) if ends else at + len(marker)
            if marker.startswith(text[at : at + len(marker)]):
                self._held = text[at:]
                return len(text)
        char = text[at]
        if char == "{":
            self._call = JsonCall(self._calls, known_keys_only=self._bare)
            return at
        if char in (_AFTER_CALLS if self._count else _BEFORE_CALLS):
            self._raw += "" if self._count else char
            return at + 1
        if self._raw and not self._count:
            events.append(Answer(self._raw))
        return self._end(text, at)

    def _inside(self, text: str, at: int, events: list[Event]) -> int:
        call = self._call
        assert call is not None
        end = call.feed(text, at, events)
        self._raw = "" if call.started else self._raw + text[at:end]
        if call.broken and not call.started:
            events.append(Answer(self._raw))
            self._call = None
            return self._end(text, end)
        if call.broken or call.done:
            self._call = None
            self._count += 1
        return end

    def _end(self, text: str, at: int) -> int:
        self.done, self.rest = True, text[at:]
        return len(text)
