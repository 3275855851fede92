"""Writes a running stream to its client: past ASGI, where the server is our own uvicorn.

ASGI's `send` builds a dictionary and passes it through every middleware, which takes longer than
all that is done to a token. The stream's head and end go that way.
"""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

# In a request's scope: a weak reference to its cycle, which itself holds the scope.
CYCLE = "enginix.cycle"

# Writes bytes of the body; what it returns is to be awaited, None if nothing is.
Write = Callable[[bytes], Awaitable[None] | None]


def writer(scope: Scope, send: Send) -> Write:
    """For a body in chunks whose head has been sent."""
    reference = scope.get(CYCLE)
    cycle = reference() if reference is not None else None
    if not isinstance(cycle, RequestResponseCycle) or not cycle.chunked_encoding:
        return lambda body: send({"type": "http.response.body", "body": body, "more_body": True})
    flow = cycle.flow

    def write(body: bytes) -> Awaitable[None] | None:
        if cycle.disconnected or not body:
            return None
        # Looked up each time: one for HTTP/1.0 takes the frame away again.
        cycle.transport.write(b"%x\r\n%b\r\n" % (len(body), body))
        return flow.drain() if flow.write_paused else None

    return write


def note_cycle(cycle: RequestResponseCycle) -> None:
    scope: Any = cycle.scope
    scope[CYCLE] = weakref.ref(cycle)
