"""Decides whether a reply ended with executable calls: the finish reason `tool_calls`."""

from __future__ import annotations

from enginix.chat.arguments import is_whole
from enginix.chat.events import ToolCallArguments, ToolCallStart


class MadeCalls:
    """Collects the calls of one reply as they arrive."""

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
        """Whether there are calls and none was cut off or abandoned."""
        return self.any and not self._broken and is_whole("".join(self._arguments))
