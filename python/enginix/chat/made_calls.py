"""Whether a reply ended with calls that a client can make: what `tool_calls` claims."""

from __future__ import annotations

from enginix.chat.arguments import is_whole
from enginix.chat.events import ToolCallArguments, ToolCallStart


class MadeCalls:
    """The calls of one reply, as they come."""

    __slots__ = ("_arguments", "_broken", "any")

    def __init__(self) -> None:
        self.any = False
        self._broken = False
        self._arguments: list[str] = []

    def read(self, event: object) -> None:
        if isinstance(event, ToolCallStart):
            self._broken = self.any and not self.whole
            self.any = True
            self._arguments = []
        elif isinstance(event, ToolCallArguments):
            self._arguments.append(event.fragment)

    @property
    def whole(self) -> bool:
        """There are calls, and not one of them was cut or given up."""
        return self.any and not self._broken and is_whole("".join(self._arguments))
