"""The interface of TritonClient's transports: a streaming call, message bytes in and out."""

from __future__ import annotations

from typing import Protocol

from enginix.generation.request import Headers


class Call(Protocol):
    """One ModelStreamInfer stream that carries one request."""

    async def receive(self, limit: float) -> list[bytes]:
        """Wait for a message and return all that have arrived; empty at the stream's end.

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
