"""Reads a server's stream: assembles events from arbitrary chunks, and extracts their data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

# Lines end with \n, \r\n or \r; an event ends with an empty line.
BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r\n?|\n\r\n|\r\n\n")
LINE = re.compile(rb"\r\n|\n|\r")
# llama-server once reported failures under a field of its own.
FIELDS = (b"data:", b"error:")


class EventReader:
    """`feed` bytes as they arrive; an incomplete event waits for its rest."""

    __slots__ = ("_before", "_last", "_long_before", "_rest", "first")

    def __init__(self) -> None:
        # The end of a stream holds the finish reason, the usage and the last event.
        self._rest = self._last = self._before = self._long_before = b""
        # Anthropic's streams count the prompt at their start.
        self.first = b""

    def feed(self, chunk: bytes) -> bytes:
        """All events that are now complete, byte for byte."""
        if self._rest or not chunk.endswith(b"\n\n"):
            data = self._rest + chunk
            end = end_of_events(data)
            self._rest = data[end:]
            if not end:
                return b""
            chunk = data[:end]
        self._long_before, self._before, self._last = self._before, self._last, chunk
        self.first = self.first or chunk
        return chunk

    def finish(self) -> bytes:
        """The last event, which may lack its final line breaks."""
        rest = self._rest.rstrip()
        if _data(rest).endswith((b"[DONE]", b"}")):
            self._rest = b""
            self._long_before, self._before, self._last = self._before, self._last, rest
            return rest + b"\n\n"
        return b""

    @property
    def last(self) -> bytes:
        """The last few arrivals."""
        return self._long_before + self._before + self._last

    @property
    def is_cut(self) -> bool:
        """Whether an incomplete event waits for its rest."""
        return bool(self._rest)


def end_of_events(data: bytes) -> int:
    """Where the last complete event ends, for any kind of line break."""
    found = ((data.rfind(blank), len(blank)) for blank in (b"\n\n", b"\n\r\n", b"\r\r"))
    return max((place + length for place, length in found if place >= 0), default=0)


def data_of(events: bytes) -> Iterator[bytes]:
    """The data of each event; comments have none."""
    return filter(None, map(_data, filter(None, BLANK_LINE.split(events))))


def documents(body: bytes) -> Iterator[Any]:
    """The JSON of a whole document, or of every event that is JSON."""
    for data in [body] if body.lstrip().startswith(b"{") else data_of(body):
        try:
            yield orjson.loads(data)
        except orjson.JSONDecodeError:
            continue


def _data(event: bytes) -> bytes:
    if event.startswith(b"data:") and b"\n" not in event and b"\r" not in event:
        return event[5:].strip()
    lines = [line for line in LINE.split(event) if line.startswith(FIELDS)]
    return b"\n".join(line.partition(b":")[2].strip() for line in lines)
