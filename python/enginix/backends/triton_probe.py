"""Asks a Triton for one token over HTTP: for whoever watches it and does not generate with it.

No gRPC library in the process that starts and ends children: it minds their being forked.
"""

from __future__ import annotations

import asyncio

from enginix.backends.openai.http import HttpClient
from enginix.errors import BackendTimedOut, BackendUnavailable, GenerationFailed

PATH = "/v2/models/tensorrt_llm/generate_stream"
# Any id below the smallest vocabulary will do.
QUESTION = b'{"input_ids":[1],"input_lengths":1,"request_output_len":1,"streaming":true}'
# Through preprocessing and postprocessing, which have processes of their own to lose.
TEXT_PATH = "/v2/models/ensemble/generate"
TEXT_QUESTION = b'{"text_input":"a","max_tokens":1}'
MAX_RESPONSE_BYTES = 64 << 10


class TritonProbe:
    def __init__(self, url: str, *, seconds: float) -> None:
        self.name = f"Triton at {url}"
        self._http = HttpClient(url, name=self.name)
        self._seconds = seconds

    async def probe(self) -> None:
        """Return once a token came out: Triton's own readiness stays green with a dead model."""
        await self._ask(PATH, QUESTION, b'"output_ids"', "token")

    async def probe_text(self) -> None:
        """Return once a text came out of `ensemble`, and so of every model of the repository."""
        await self._ask(TEXT_PATH, TEXT_QUESTION, b'"text_output"', "text")

    async def _ask(self, path: str, question: bytes, proof: bytes, wanted: str) -> None:
        # An open connection keeps a Triton that was told to end waiting for it, ten seconds long.
        headers = {"Content-Type": "application/json", "Connection": "close"}
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._http.request("POST", path, question, headers) as answer,
            ):
                body = await answer.read(MAX_RESPONSE_BYTES)
        except TimeoutError:
            raise BackendTimedOut(
                f"{self.name} produced no {wanted} within {self._seconds:g} s"
            ) from None
        text = body.decode(errors="replace").strip()[:500]
        if answer.status != 200:
            raise BackendUnavailable(f"{self.name} answered {answer.status}: {text}")
        if proof not in body:
            raise GenerationFailed(f"{self.name} gave no {wanted}: {text}")

    async def close(self) -> None:
        await self._http.close()
