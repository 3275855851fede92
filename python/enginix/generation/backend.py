"""The interface of anything that generates token ids."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol

from enginix.generation.request import TokenChunk, TokenRequest


class Replica(Protocol):
    """One of several servers of a model."""

    address: str
    """As its profile or the command line spells it."""
    resting: bool
    """Set by whoever is about to restart it: it gets no new requests."""
    out: str | None
    """Why it gets no request while others can; None while it is in rotation."""
    running: int
    started: int
    """Requests ever sent to it."""
    changed: Callable[[], None]
    """Called when any of the above changes."""
    retried: Callable[[], None]
    """Called when a request begins again on another replica."""

    async def examine(self) -> None:
        """Find out whether it generates, and put it into rotation or out of it."""


class Server(Protocol):
    """Generates with one model. Failures raise BackendError."""

    @property
    def name(self) -> str: ...

    @property
    def late_tokens(self) -> int:
        """Count of tokens that arrived for cancelled requests: wasted work."""

    @property
    def replicas(self) -> Sequence[Replica]:
        """The servers behind it; empty where there is one."""

    async def probe(self) -> None:
        """Return once a token came out; raise BackendError when none did within the deadline."""

    async def close(self) -> None: ...


class Backend(Server, Protocol):
    """A server that takes token ids. A bad request raises RequestError."""

    def generate(self, request: TokenRequest) -> AsyncGenerator[list[TokenChunk], None]:
        """Yield every chunk that has arrived since the last item; closing the generator cancels.

        Iterate inside `contextlib.aclosing`: leaving the loop alone does not close a generator.
        """

    async def supported(self) -> frozenset[str]:
        """Return the names of the Sampling fields that this model accepts."""
