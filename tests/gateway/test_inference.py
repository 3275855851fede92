"""/api/v1/inference/stream: other request fields, the same answer, keys and times."""

from __future__ import annotations

import asyncio
import re

import pytest
from fakes.backend import FakeBackend
from fakes.wedged_server import Server
from gateway.harness import events, ids, served, server

from enginix.backends.openai.server import OpenAIBackend
from enginix.gateway.models.registry import PassthroughModel
from enginix.gateway.settings import Settings

PATH = "/api/v1/inference/stream"


async def test_an_answer_streams_token_by_token_with_its_usage() -> None:
    backend = FakeBackend(ids("The capital is Paris."))
    async with server(served(backend)) as client:
        answer = await client.post(PATH, json={"modelId": "demo", "prompt": "Where?"})
    *chunks, usage, done = events(answer.text)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "The capital is Paris."
    assert usage["usage"]["completion_tokens"] == len(ids("The capital is Paris."))
    assert done == "[DONE]"
    assert re.fullmatch(r"\d+\.\dms", answer.headers["x-response-time"])


async def test_omitted_options_have_the_dialects_documented_defaults() -> None:
    backend = FakeBackend(ids("Paris"))
    async with server(served(backend)) as client:
        await client.post(PATH, json={"modelId": "demo", "prompt": "Where?"})
    (asked,) = backend.asked
    assert asked.max_tokens == 128
    assert (asked.sampling.temperature, asked.sampling.top_p) == (0.7, 0.95)


async def test_every_option_reaches_the_model() -> None:
    backend = FakeBackend(ids("Paris is. More"))
    wishes = {"maxTokens": 9, "topK": 3, "seed": 5, "stop": ".", "stream": False}
    async with server(served(backend)) as client:
        answer = await client.post(PATH, json={"modelId": "demo", "prompt": "Where?", **wishes})
    assert answer.json()["choices"][0]["text"] == "Paris is"
    (asked,) = backend.asked
    assert (asked.max_tokens, asked.sampling.top_k, asked.sampling.seed) == (9, 3, 5)


async def test_a_model_of_another_server_gets_openais_parameters() -> None:
    stand_in = Server()
    listening = await asyncio.start_server(stand_in.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    model = PassthroughModel("ours", OpenAIBackend("stand-in", url, "theirs"), "vllm")
    async with server(model) as client:
        answer = await client.post(PATH, json={"modelId": "ours", "prompt": "Where?"})
    listening.close()
    stand_in.close()
    assert answer.text.endswith("data: [DONE]\n\n")
    assert (stand_in.asked[0]["model"], stand_in.asked[0]["max_tokens"]) == ("theirs", 128)


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"prompt": "x"}, 400, "modelId"),
        ({"modelId": "demo"}, 400, "prompt"),
        ({"modelId": "nope", "prompt": "x"}, 404, "model"),
        ({"modelId": "demo", "prompt": "x", "maxTokens": 0}, 400, "maxTokens"),
        ({"modelId": "demo", "prompt": "x", "topK": -2}, 400, "topK"),
        ({"modelId": "demo", "prompt": "x", "stop": [5]}, 400, "stop[0]"),
    ],
)
async def test_a_mistake_is_named(body: dict[str, object], status: int, param: str) -> None:
    async with server(served(FakeBackend())) as client:
        answer = await client.post(PATH, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


async def test_where_there_are_keys_one_is_needed() -> None:
    settings = Settings(api_keys=frozenset({"secret"}))
    body = {"modelId": "demo", "prompt": "Where?"}
    async with server(served(FakeBackend(ids("Hi"))), settings=settings) as client:
        without = await client.post(PATH, json=body)
        with_key = await client.post(PATH, json=body, headers={"X-API-Key": "secret"})
    assert (without.status_code, with_key.status_code) == (401, 200)
