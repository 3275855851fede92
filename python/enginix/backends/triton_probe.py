"""Probes a Triton for one token over HTTP, in a process that watches it but does not generate.

That process starts and ends children, which a gRPC library does not survive.
"""

from __future__ import annotations

from enginix.backends.openai.http import HttpClient
from enginix.backends.openai.server import probe

PATH = "/v2/models/tensorrt_llm/generate_stream"
# Any id below the smallest vocabulary will do.
BODY = b'{"input_ids":[1],"input_lengths":1,"request_output_len":1,"streaming":true}'
# Through preprocessing and postprocessing, whose processes can die on their own.
TEXT_PATH = "/v2/models/ensemble/generate"
TEXT_BODY = b'{"text_input":"a","max_tokens":1}'
# An open connection delays a Triton's shutdown by ten seconds.
HEADERS = {"Content-Type": "application/json", "Connection": "close"}


class TritonProbe:
    def __init__(self, url: str, *, seconds: float) -> None:
        self._http = HttpClient(url, name=f"Triton at {url}")
        self._seconds = seconds

    async def probe(self) -> None:
        """Return once a token came out: Triton's own readiness stays green with a dead model."""
        await probe(self._http, PATH, BODY, HEADERS, b'"output_ids"', self._seconds)

    async def probe_text(self) -> None:
        """Return once a text came out of `ensemble`, and thus of every model in the repository."""
        await probe(
            self._http, TEXT_PATH, TEXT_BODY, HEADERS, b'"text_output"', self._seconds, "text"
        )

    async def close(self) -> None:
        await self._http.close()
