"""Triton as a backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from uuid import uuid4

from enginix.errors import BackendTimedOut, GenerationFailed
from enginix.generation.backend import Replica
from enginix.triton.client.client import TokenChunk, TokenRequest, TritonClient

PROBE_SECONDS = 5.0
# Any id below the smallest vocabulary will do.
PROBE_PROMPT = (1,)


class TritonBackend:
    """Generates through a TritonClient."""

    replicas: Sequence[Replica] = ()

    def __init__(
        self, name: str, client: TritonClient, *, probe_seconds: float = PROBE_SECONDS
    ) -> None:
        self.name = name
        self.client = client
        self._probe_seconds = probe_seconds

    def generate(self, request: TokenRequest) -> AsyncGenerator[list[TokenChunk], None]:
        return self.client.generate(request)

    @property
    def late_tokens(self) -> int:
        return self.client.late_tokens

    async def supported(self) -> frozenset[str]:
        """The names of the Sampling fields this model can follow."""
        return await self.client.supported()

    async def probe(self) -> None:
        """Generate one token: Triton's own readiness stays green when the model is dead."""
        identity = f"probe-{uuid4().hex}"
        request = TokenRequest(prompt_ids=PROBE_PROMPT, max_tokens=1, request_id=identity)
        try:
            async with (
                asyncio.timeout(self._probe_seconds),
                aclosing(self.client.generate(request)) as chunks,
            ):
                async for _ in chunks:
                    return
        except TimeoutError:
            raise BackendTimedOut(
                f"{self.name} produced no token within {self._probe_seconds:g} s"
            ) from None
        raise GenerationFailed(f"{self.name} ended a one-token answer without a token")

    async def close(self) -> None:
        await self.client.close()
