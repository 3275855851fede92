"""Asks a Triton for one token over HTTP: for whoever watches it and does not generate with it.

No gRPC library in the process that starts and ends children: it minds their being forked.
"""

from __future__ import annotations

import asyncio

from enginix.backends.http1 import HttpClient
from enginix.errors import BackendTimedOut, BackendUnavailable, GenerationFailed

PATH = "/v2/models/tensorrt_llm/generate_stream"
# Any id below the smallest vocabulary will do.
QUESTION = b'{"input_ids":[1],"input_lengths":1,"request_output_len":1,"streaming":true}'
MOST_OF_AN_ANSWER = 64 << 10


class TritonProbe:
    def __init__(self, url: str, *, seconds: float) -> None:
        self.name = f"Triton at {url}"
        self._http = HttpClient(url, name=self.name)
        self._seconds = seconds

    async def probe(self) -> None:
        """Return once a token came out: Triton's own readiness stays green with a dead model."""
        # An open connection keeps a Triton that was told to end waiting for it, ten seconds long.
        headers = {"Content-Type": "application/json", "Connection": "close"}
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._http.request("POST", PATH, QUESTION, headers) as answer,
            ):
                body = await answer.read(MOST_OF_AN_ANSWER)
        except TimeoutError:
            raise BackendTimedOut(
                f"{self.name} produced no token within {self._seconds:g} s"
            ) from None
        text = body.decode(errors="replace").strip()[:500]
        if answer.status != 200:
            raise BackendUnavailable(f"{self.name} answered {answer.status}: {text}")
        if b'"output_ids"' not in body:
            raise GenerationFailed(f"{self.name} gave no token: {text}")

    async def close(self) -> None:
        await self._http.close()
