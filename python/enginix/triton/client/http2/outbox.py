"""Sends requests as fast as the server's windows and the socket allow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from enginix.errors import ProtocolBroken
from enginix.triton.client.http2.frames import (
    DATA,
    DEFAULT_WINDOW,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    LARGEST,
    frame,
)
from enginix.triton.client.http2.settings import PeerSettings


@dataclass(slots=True)
class Upload:
    """The unsent rest of one request, and its stream's window."""

    rest: memoryview
    window: int


class Outbox:
    """All requests that are not completely sent yet."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self.write = write
        self.paused = False
        self._window = DEFAULT_WINDOW
        self._settings = PeerSettings()
        self._uploads: dict[int, Upload] = {}

    def send(self, stream_id: int, head: bytes, body: bytes) -> None:
        """Write `head`, a complete HEADERS frame, and as much of `body` as fits now."""
        size = len(body)
        if (
            not self._uploads
            and not self.paused
            and size <= min(self._window, self._settings.initial_window)
            and size <= self._settings.max_frame_bytes
        ):
            self._window -= size
            self.write(head + frame(DATA, END_STREAM, stream_id, body))
            return
        self.write(head)
        self._uploads[stream_id] = Upload(memoryview(body), self._settings.initial_window)
        self._pump()

    def drop(self, stream_id: int) -> bool:
        """Forget a request; return whether part of it was unsent."""
        return self._uploads.pop(stream_id, None) is not None

    def settings(self, settings: PeerSettings) -> None:
        change = settings.initial_window - self._settings.initial_window
        self._settings = settings
        for upload in self._uploads.values():
            upload.window = _grown(upload.window, change)
        self._pump()

    def credit(self, stream_id: int, amount: int) -> None:
        """Add credit from a WINDOW_UPDATE to a stream, or for 0 to the connection."""
        if stream_id == 0:
            self._window = _grown(self._window, amount)
        elif stream_id in self._uploads:
            upload = self._uploads[stream_id]
            upload.window = _grown(upload.window, amount)
        self._pump()

    def resume(self) -> None:
        self.paused = False
        self._pump()

    def _pump(self) -> None:
        """Send one frame of each request in turn until none can proceed."""
        moved = True
        while moved and self._uploads:
            moved = False
            for stream_id, upload in list(self._uploads.items()):
                moved |= self._push(stream_id, upload)

    def _push(self, stream_id: int, upload: Upload) -> bool:
        size = min(len(upload.rest), self._settings.max_frame_bytes, self._window, upload.window)
        if size <= 0 or self.paused:
            return False
        last = size == len(upload.rest)
        self._window -= size
        upload.window -= size
        # Update first: the write may pause us.
        chunk, upload.rest = upload.rest[:size], upload.rest[size:]
        if last:
            del self._uploads[stream_id]
        self.write(frame(DATA, END_STREAM if last else 0, stream_id, chunk))
        return True


def _grown(window: int, amount: int) -> int:
    if window + amount > LARGEST:
        raise ProtocolBroken("a window of more than 2^31 - 1 bytes", FLOW_CONTROL_ERROR)
    return window + amount
