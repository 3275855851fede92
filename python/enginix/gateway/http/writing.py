"""What a request asks of our own uvicorn past ASGI: to write a running stream, to say when the
client leaves.

ASGI's `send` builds a dictionary and passes it through every middleware, which takes longer than
all that is done to a token. The stream's head and end go that way. ASGI's `receive` needs a task
that waits in it for as long as the client stays.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

# In a request's scope: a weak reference to its cycle, which itself holds the scope.
CYCLE = "enginix.cycle"
# There, too: what to call when the client leaves.
LEFT = "enginix.left"

# Writes bytes of the body; what it returns is to be awaited, None if nothing is.
Write = Callable[[bytes], Awaitable[None] | None]


class DirectBody:
    """A body in chunks at our own uvicorn, whose head has been sent."""

    __slots__ = ("_cycle", "flow")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self.flow = cycle.flow

    def write(self, body: bytes, before: bytes = b"", after: bytes = b"") -> None:
        cycle = self._cycle
        size = len(before) + len(body) + len(after)
        if size and not cycle.disconnected:
            # Looked up each time: one for HTTP/1.0 takes the frame away again.
            cycle.transport.write(b"%x\r\n%b%b%b\r\n" % (size, before, body, after))

    def write_on(self, body: bytes) -> Awaitable[None] | None:
        """As Write."""
        self.write(body)
        return self.flow.drain() if self.flow.write_paused else None


def direct_body(scope: Scope) -> DirectBody | None:
    """None at another server, or for a body of a known length."""
    cycle = cycle_of(scope)
    return DirectBody(cycle) if cycle is not None and cycle.chunked_encoding else None


def writer(direct: DirectBody | None, send: Send) -> Write:
    if direct is None:
        return lambda body: send({"type": "http.response.body", "body": body, "more_body": True})
    return direct.write_on


def hold(scope: Scope) -> None:
    """What is sent in this turn of the event loop leaves in one write at its end.

    Each write wakes the client, and costs a system call.
    """
    cycle = cycle_of(scope)
    # The frames are taken away again for HTTP/1.0, one per write.
    if cycle is not None and scope["http_version"] != "1.0":
        held: Any = _Held(cycle)
        cycle.transport = held
        asyncio.get_running_loop().call_soon(held.release)


class _Held:
    """A transport that writes when it is told to, or closed."""

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._transport = cycle.transport
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        self._parts.append(data)

    def release(self) -> None:
        self._cycle.transport = self._transport
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))

    def close(self) -> None:
        self.release()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def cycle_of(scope: Scope) -> RequestResponseCycle | None:
    """The request at our own uvicorn; None elsewhere."""
    reference = scope.get(CYCLE)
    cycle = reference() if reference is not None else None
    return cycle if isinstance(cycle, RequestResponseCycle) else None


def note_cycle(cycle: RequestResponseCycle) -> None:
    scope: Any = cycle.scope
    scope[CYCLE] = weakref.ref(cycle)


def note_left(cycle: RequestResponseCycle) -> None:
    """The client of a request has closed its connection."""
    scope: Any = cycle.scope
    if (left := scope.get(LEFT)) is not None:
        left()
