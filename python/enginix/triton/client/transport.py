"""The interface of TritonClient's transports: a streaming call, message bytes in and out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from enginix.generation.lane import Lane
from enginix.generation.request import Headers

# Given all messages that have arrived; whether it has taken them.
Offer = Callable[[list[bytes]], bool]


class Call(Protocol):
    """One ModelStreamInfer stream that carries one request."""

    async def receive(
        self, limit: float, offer: Offer | None = None, lane: Lane | None = None
    ) -> list[bytes]:
        """Wait for a message and return all that have arrived; empty at the stream's end.

        Messages that come while it waits may be offered to `offer` first, where they are read,
        and are returned only if that does not take them; what it raises is raised here. A token
        that `lane` has may be passed on there instead of offering its message.
        Raises TimeoutError after `limit` seconds without one, BackendError if the stream failed.
        """
        ...

    def leave(self, stop: bytes | None) -> None:
        """Nobody reads on: end the request at the server; a no-op if it has ended.

        With `stop`, the message that has the model end it, else by cancelling the stream.
        """
        ...

    def release(self) -> None:
        """The response is complete: let the server end the stream."""
        ...


class Transport(Protocol):
    @property
    def several(self) -> bool:
        """Whether a request may go to more than one server."""
        ...

    @property
    def late_messages(self) -> int:
        """How many messages still arrived for cancelled requests; one per token."""
        ...

    async def open(self, message: bytes, metadata: Headers = ()) -> Call:
        """Send one request. Raises BackendUnavailable when no server is reachable."""
        ...

    async def close(self) -> None: ...
