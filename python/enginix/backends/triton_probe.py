"""Probes a Triton for one token over HTTP, in a process that watches it but does not generate.

That process starts and ends children, which a gRPC library does not survive.
"""

from __future__ import annotations

import asyncio

from enginix.backends.openai.http import HttpClient
from enginix.errors import BackendTimedOut, BackendUnavailable, GenerationFailed

PATH = "/v2/models/tensorrt_llm/generate_stream"
# Any id below the smallest vocabulary will do.
BODY = b'{"input_ids":[1],"input_lengths":1,"request_output_len":1,"streaming":true}'
# Through preprocessing and postprocessing, which have processes of their own to lose.
TEXT_PATH = "/v2/models/ensemble/generate"
TEXT_BODY = b'{"text_input":"a","max_tokens":1}'
MAX_RESPONSE_BYTES = 64 << 10


class TritonProbe:
    def __init__(self, url: str, *, seconds: float) -> None:
        self.name = f"Triton at {url}"
        self._http = HttpClient(url, name=self.name)
        self._seconds = seconds

    async def probe(self) -> None:
        """Return once a token came out: Triton's own readiness stays green with a dead model."""
        await self._ask(PATH, BODY, b'"output_ids"', "token")

    async def probe_text(self) -> None:
        """Return once a text came out of `ensemble`, and thus of every model in the repository."""
        await self._ask(TEXT_PATH, TEXT_BODY, b'"text_output"', "text")

    async def _ask(self, path: str, body: bytes, proof: bytes, wanted: str) -> None:
        # An open connection delays a Triton's shutdown by ten seconds.
        headers = {"Content-Type": "application/json", "Connection": "close"}
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._http.request("POST", path, body, headers) as answer,
            ):
                reply = await answer.read(MAX_RESPONSE_BYTES)
        except TimeoutError:
            raise BackendTimedOut(
                f"{self.name} produced no {wanted} within {self._seconds:g} s"
            ) from None
        text = reply.decode(errors="replace").strip()[:500]
        if answer.status != 200:
            raise BackendUnavailable(f"{self.name} answered {answer.status}: {text}")
        if proof not in reply:
            raise GenerationFailed(f"{self.name} gave no {wanted}: {text}")

    async def close(self) -> None:
        await self._http.close()
