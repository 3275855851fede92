"""Cuts a stream of bytes between its events, so that only whole ones are passed on."""

from __future__ import annotations

from enginix.gateway.relay.dialect import is_terminal


class Events:
    """`feed` bytes as they come; half an event is kept until it is whole."""

    __slots__ = ("_before", "_last", "_long_before", "_rest")

    def __init__(self) -> None:
        # The end is remembered for what it says: the reason, the usage, the last word.
        self._rest = self._last = self._before = self._long_before = b""

    def feed(self, piece: bytes) -> bytes:
        """All events that are whole by now."""
        if self._rest or not piece.endswith(b"\n\n"):
            data = self._rest + piece
            end = end_of_events(data)
            self._rest = data[end:]
            if not end:
                return b""
            piece = data[:end]
        self._long_before, self._before, self._last = self._before, self._last, piece
        return piece

    def finish(self) -> bytes:
        """The last event, which may lack its last line breaks."""
        rest = self._rest.rstrip()
        if rest.startswith(b"data:") and rest.endswith((b"[DONE]", b"}")):
            self._rest = b""
            self._long_before, self._before, self._last = self._before, self._last, rest
            return rest + b"\n\n"
        return b""

    @property
    def last(self) -> bytes:
        """The last few arrivals."""
        return self._long_before + self._before + self._last

    def ended(self, path: str) -> bool:
        """Whether the stream's last events said that they were the last."""
        return not self._rest and is_terminal(self.last, path)


def end_of_events(data: bytes) -> int:
    """Where the last whole event ends, whichever line breaks the server likes."""
    plain = data.rfind(b"\n\n")
    dos = data.rfind(b"\n\r\n")
    return max(plain + 2 if plain >= 0 else 0, dos + 3 if dos >= 0 else 0)
