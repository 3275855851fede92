"""What the gateway needs of anything that generates token ids."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from enginix.generation.request import TokenChunk, TokenRequest


class Backend(Protocol):
    """Generates with one model. Failures are BackendErrors; a bad request is a RequestError."""

    @property
    def name(self) -> str: ...

    @property
    def late_tokens(self) -> int:
        """How many came for requests that had been cancelled: work in vain."""
        ...

    def generate(self, request: TokenRequest) -> AsyncGenerator[list[TokenChunk], None]:
        """Every item holds all chunks that had arrived; closing it cancels at once.

        Iterate inside `contextlib.aclosing`: leaving the loop alone does not close a generator.
        """
        ...

    async def supported(self) -> frozenset[str]:
        """The names of the Sampling fields that this model can follow."""
        ...

    async def probe(self) -> None:
        """Return once a token came out; raise BackendError when none did within the deadline."""
        ...

    async def close(self) -> None: ...
