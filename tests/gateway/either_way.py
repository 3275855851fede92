"""Sends the same request to a Triton model or to a model of another server."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.backend import FakeBackend
from fakes.chat_server import chat_server, completion, texts
from gateway.harness import events, ids, served, server

from enginix.backends.openai.server import OpenAIBackend
from enginix.gateway.models.model import Model
from enginix.gateway.models.registry import PassthroughModel

everywhere = pytest.mark.parametrize("theirs", [False, True], ids=["our model", "passed on"])


async def ask(
    path: str, body: dict[str, Any], said: str, *, cut: bool = False, theirs: bool
) -> Any:
    """The answer in this dialect; `cut`: a limit ended it, not the model."""

    async def asked(model: Model, limit: int) -> Any:
        limits = {"max_output_tokens" if path == "/v1/responses" else "max_tokens": limit}
        async with server(model) as client:
            answer = await client.post(path, json={"model": model.name, **body, **limits})
        assert answer.status_code == 200, answer.text
        return events(answer.text) if body.get("stream") else answer.json()

    if not theirs:
        tokens = ids(said)
        return await asked(served(FakeBackend(tokens)), len(tokens) if cut else 200)
    spoken = completion(*texts(*(said[at : at + 5] for at in range(0, len(said), 5))))
    reason = b'"finish_reason": "length"' if cut else b'"finish_reason": "stop"'
    spoken = [each.replace(b'"finish_reason": "stop"', reason) for each in spoken]
    async with chat_server(spoken) as (_, url):
        backend = OpenAIBackend("stand-in", url, "theirs")
        formats = {"reasoning": "think-tags", "tools": "hermes-json"}
        return await asked(PassthroughModel("ours", backend, "vllm", **formats), 200)
