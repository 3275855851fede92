"""The requests of a chat in Open WebUI, in order, and what it reads from the answers."""

from __future__ import annotations

import json
import time
from typing import Any

from fakes.backend import FakeBackend
from gateway.harness import events, ids, served, server

from enginix.errors import BackendUnavailable

CHAT = "/v1/chat/completions"
THOUGHT = "<think>\nA greeting.\n</think>\n\nHello 👋"


async def test_its_chat_its_title_and_its_tags() -> None:
    backend = FakeBackend(ids(THOUGHT), ids('{"title": "Greeting"}'), ids('{"tags": ["a"]}'))
    headers = {"Authorization": "Bearer sk-dummy", "X-OpenWebUI-User-Name": "Zo%C3%AB"}
    async with server(served(backend)) as client:
        models = await client.get("/v1/models", headers=headers)
        name = models.json()["data"][0]["id"]
        body: dict[str, Any] = {
            "stream": True,
            "model": name,
            "messages": [{"role": "user", "content": "Hi"}],
            "stream_options": {"include_usage": True},
            "metadata": {"chat_id": "x"},
        }
        chunks = events((await client.post(CHAT, json=body, headers=headers)).text)
        title = await client.post(
            CHAT,
            headers=headers,
            json={
                "model": name,
                "messages": [{"role": "user", "content": "### Task: a title"}],
                "stream": False,
                "max_completion_tokens": 1000,
            },
        )
    deltas = [choice["delta"] for chunk in chunks[:-1] for choice in chunk["choices"]]
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == "A greeting."
    assert "".join(delta.get("content") or "" for delta in deltas) == "Hello 👋"
    assert chunks[-2]["usage"]["total_tokens"] > 0
    assert json.loads(title.json()["choices"][0]["message"]["content"]) == {"title": "Greeting"}


async def test_its_list_of_models_never_waits_for_the_backend() -> None:
    backend = FakeBackend()
    backend.probe_error = BackendUnavailable("down")
    took = []
    async with server(served(backend)) as client:
        for _ in range(20):
            began = time.perf_counter()
            assert (await client.get("/v1/models")).status_code == 200
            took.append(time.perf_counter() - began)
    # The best of them: others have this machine too.
    assert min(took) < 0.05
