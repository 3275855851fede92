"""What TritonClient needs of a transport: one streaming call, message bytes in and out."""

from __future__ import annotations

from typing import Protocol


class Call(Protocol):
    """One ModelStreamInfer stream that carries one request."""

    async def receive(self, limit: float) -> list[bytes]:
        """Every message that has arrived, waiting for the first; empty at the stream's end.

        Raises TimeoutError after `limit` seconds without one, BackendError when it failed.
        """
        ...

    def cancel(self) -> None:
        """Stop the request at the server now; nothing happens when it has ended."""
        ...

    def release(self) -> None:
        """The answer is complete: let the server end the stream by itself."""
        ...


class Transport(Protocol):
    @property
    def several(self) -> bool:
        """Whether a request may go to more than one server."""
        ...

    @property
    def late_messages(self) -> int:
        """How many still came for requests that had been cancelled; a token has one."""
        ...

    async def open(self, message: bytes) -> Call:
        """Send one request. Raises BackendUnavailable when no server is reachable."""
        ...

    async def close(self) -> None: ...
