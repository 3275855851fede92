"""Takes a server's stream of bytes apart: the data of each server-sent event, once it is whole."""

from __future__ import annotations

import re

# Lines end with \n, \r\n or \r; a \r at the very end may be half of \r\n.
BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r(?!\n)|\n\r\n|\r\n\n")
LINE = re.compile(rb"\r\n|\n|\r")
# llama-server once reported failures under a field of its own.
FIELDS = (b"data:", b"error:")


class ServerEvents:
    """`feed` bytes as they come, cut anywhere."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """What the events say that are whole by now; comments say nothing."""
        data = self._rest + piece if self._rest else piece
        if not data.endswith((b"\n\n", b"\r\n\r\n")):
            end = 0
            for found in BLANK_LINE.finditer(data):
                end = found.end()
            data, self._rest = data[:end], data[end:]
            if not data:
                return []
        else:
            self._rest = b""
        return [said for event in BLANK_LINE.split(data) if (said := data_of(event))]

    def finish(self) -> list[bytes]:
        """An event that lacks its last line break is an event all the same."""
        rest, self._rest = self._rest, b""
        return [said] if (said := data_of(rest)) else []


def data_of(event: bytes) -> bytes:
    if event.startswith(b"data:") and b"\n" not in event and b"\r" not in event:
        return event[5:].strip()
    lines = [line for line in LINE.split(event) if line.startswith(FIELDS)]
    return b"\n".join(line.partition(b":")[2].strip() for line in lines)
