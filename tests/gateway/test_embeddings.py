"""Embeddings and scores come from servers that make them; what cannot work is refused before."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from fakes.backend import FakeBackend
from fakes.chat_server import CHAT, ChatServer, chat_server
from gateway.harness import ids, served, server, user
from gateway.test_named_keys import key_file

from enginix.backends.openai.server import OpenAIBackend
from enginix.gateway.models.registry import PassthroughModel
from enginix.gateway.passthrough.response import without_data
from enginix.gateway.settings import Settings

EMBEDDINGS, RERANK = "/v1/embeddings", "/v1/rerank"
NUMBERS = [0.5, -0.25, 1.0]


def embedded(asked: Mapping[str, Any]) -> bytes:
    """As llama-server and vLLM answer."""
    inputs = asked["input"]
    texts = inputs if isinstance(inputs, list) and not isinstance(inputs[0], int) else [inputs]
    packed = base64.b64encode(struct.pack("<3f", *NUMBERS)).decode()
    made = packed if asked.get("encoding_format") == "base64" else NUMBERS
    rows = [{"object": "embedding", "index": n, "embedding": made} for n in range(len(texts))]
    usage = {"prompt_tokens": 2 * len(texts), "total_tokens": 2 * len(texts)}
    return orjson.dumps({"object": "list", "model": "theirs", "usage": usage, "data": rows})


def scored(asked: Mapping[str, Any]) -> bytes:
    """As vLLM answers."""
    results = [
        {"index": n, "document": {"text": text}, "relevance_score": 0.5}
        for n, text in enumerate(asked["documents"])
    ]
    usage = {"prompt_tokens": 4, "total_tokens": 4}
    return orjson.dumps({"id": "rerank-1", "model": "theirs", "usage": usage, "results": results})


@asynccontextmanager
async def gateway(
    settings: Settings | None = None,
) -> AsyncIterator[tuple[ChatServer, httpx.AsyncClient]]:
    """With the models `chat`, `embed` and `rerank`, the latter two on one stand-in."""
    async with chat_server() as (stand_in, url):
        stand_in.routes |= {EMBEDDINGS: embedded, RERANK: scored}
        others = [
            PassthroughModel(task, OpenAIBackend(task, url, "theirs", task=task), "vllm")
            for task in ("embed", "rerank")
        ]
        chat = served(FakeBackend(ids("Hello")), name="chat", aliases=())
        async with server(chat, *others, settings=settings) as client:
            yield stand_in, client


async def embed(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await client.post(EMBEDDINGS, json={"model": "embed", **body})


def error(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 400, answer.text
    found: dict[str, Any] = answer.json()["error"]
    return found


@pytest.mark.parametrize(
    ("given", "count"),
    [("one", 1), (["one", "two"], 2), ([1, 2, 3], 1), ([[1, 2], [3]], 2)],
)
@pytest.mark.parametrize("form", [None, "float", "base64"])
async def test_every_form_of_input_and_of_encoding_passes_through(
    given: Any, count: int, form: str | None
) -> None:
    more = {"encoding_format": form} if form else {}
    async with gateway() as (stand_in, client):
        answer = await embed(client, input=given, **more)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["model"], len(found["data"])) == ("embed", count)
    assert stand_in.asked_at(EMBEDDINGS) == [{"model": "theirs", "input": given, **more}]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "input"),
        ({"input": ""}, "input is empty"),
        ({"input": []}, "input is empty"),
        ({"input": ["a", ""]}, r"input[1] is empty"),
        ({"input": [[1], []]}, r"input[1] is empty"),
        ({"input": [-1]}, "input"),
        ({"input": [2**31]}, "input"),
        ({"input": [1.5]}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"input": {"text": "a"}}, "input"),
        ({"input": ["a"] * 2049}, "input: 2049 of them, this server takes at most 2048"),
        ({"input": "a", "encoding_format": "bytes"}, "encoding_format"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "dimensions": "3"}, "dimensions"),
    ],
)
async def test_an_input_that_cannot_be_embedded_is_refused_by_name(
    body: dict[str, Any], words: str
) -> None:
    async with gateway() as (stand_in, client):
        answer = await embed(client, **body)
    assert words in error(answer)["message"]
    assert not stand_in.asked


@pytest.mark.parametrize("form", ["float", "base64"])
async def test_dimensions_are_those_that_were_asked_for_or_an_error(form: str) -> None:
    async with gateway() as (_, client):
        same = await embed(client, input="a", dimensions=3, encoding_format=form)
        other = await embed(client, input="a", dimensions=2, encoding_format=form)
    assert same.status_code == 200
    assert "2 requested, but the embeddings of embed have 3" in error(other)["message"]
    assert error(other)["param"] == "dimensions"


async def test_a_reply_without_embeddings_is_the_servers_fault() -> None:
    async with gateway() as (stand_in, client):
        stand_in.routes[EMBEDDINGS] = lambda _: b'{"data":[]}'
        answer = await embed(client, input="a", dimensions=3)
    assert answer.status_code == 502


async def test_embeddings_that_are_too_many_for_one_answer_are_the_requests_mistake() -> None:
    numbers = b"0," * (33 << 20)
    async with gateway() as (stand_in, client):
        stand_in.routes[EMBEDDINGS] = lambda _: b'{"data":[{"embedding":[%b0]}]}' % numbers
        answer = await embed(client, input=["a"])
        health = await client.get("/readyz", params={"model": "rerank"})
    assert "send fewer texts, or encoding_format base64" in error(answer)["message"]
    assert health.status_code == 200


@pytest.mark.parametrize(
    ("body", "rest"),
    [
        (
            b'{"model":"m","data":[{"embedding":[1]}],"usage":{}}',
            b'{"model":"m","data":[],"usage":{}}',
        ),
        (b'{"usage":{},"data":[{"embedding":"a]"}]}', b'{"usage":{},"data":[]}'),
        (b'{"usage":{}}', b'{"usage":{}}'),
        (b'{"data":5}', b'{"data":5}'),
    ],
)
def test_the_numbers_of_a_reply_are_not_parsed(body: bytes, rest: bytes) -> None:
    assert without_data(body) == rest


async def test_messages_in_a_request_for_embeddings_stay_here() -> None:
    parts = [{"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}]
    async with gateway() as (stand_in, client):
        await embed(client, input="a", messages=[{"role": "user", "content": parts}])
    assert stand_in.asked_at(EMBEDDINGS) == [{"model": "theirs", "input": "a"}]


@pytest.mark.parametrize("path", [RERANK, "/v2/rerank", "/rerank"])
async def test_documents_are_scored_on_every_path(path: str) -> None:
    async with gateway() as (stand_in, client):
        body = {"model": "rerank", "query": "q", "documents": ["a", {"text": "b"}], "top_n": 2}
        answer = await client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["model"] == "rerank"
    assert [each["index"] for each in found["results"]] == [0, 1]
    sent = {"model": "theirs", "query": "q", "documents": ["a", "b"], "top_n": 2}
    assert stand_in.asked == [(RERANK, sent)]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"documents": ["a"]}, "query"),
        ({"query": "", "documents": ["a"]}, "query is empty"),
        ({"query": "q"}, "documents"),
        ({"query": "q", "documents": []}, "documents is empty"),
        ({"query": "q", "documents": "a"}, "documents"),
        ({"query": "q", "documents": [{"url": "a"}]}, "documents"),
        ({"query": "q", "documents": ["a"] * 2049}, "documents: 2049 of them"),
        ({"query": "q", "documents": ["a"], "top_n": 0}, "top_n"),
    ],
)
async def test_a_reranking_that_cannot_work_is_refused_by_name(
    body: dict[str, Any], words: str
) -> None:
    async with gateway() as (stand_in, client):
        answer = await client.post(RERANK, json={"model": "rerank", **body})
    assert words in error(answer)["message"]
    assert not stand_in.asked


GENERATING: list[tuple[str, dict[str, Any]]] = [
    (CHAT, {"messages": user("Hi")}),
    ("/v1/completions", {"prompt": "Hi"}),
    ("/v1/responses", {"input": "Hi"}),
    ("/v1/messages", {"messages": user("Hi"), "max_tokens": 3}),
    ("/v1/messages/count_tokens", {"messages": user("Hi")}),
    ("/tokenize", {"prompt": "Hi"}),
]


@pytest.mark.parametrize("model", ["embed", "rerank"])
@pytest.mark.parametrize(("path", "body"), GENERATING)
async def test_a_model_that_generates_nothing_is_no_model_for_text(
    path: str, body: dict[str, Any], model: str
) -> None:
    async with gateway() as (stand_in, client):
        answer = await client.post(path, json={"model": model, **body})
    message = error(answer)["message"]
    assert f"{model} {model}s " in message
    assert "generates text; send one of chat as model" in message
    assert not stand_in.asked


@pytest.mark.parametrize(
    ("path", "body"),
    [(EMBEDDINGS, {"input": "a"}), (RERANK, {"query": "q", "documents": ["a"]})],
)
async def test_a_chat_model_embeds_and_reranks_nothing(path: str, body: dict[str, Any]) -> None:
    async with gateway() as (_, client):
        answer = await client.post(path, json={"model": "chat", **body})
    assert "chat generates text, but" in error(answer)["message"]
    assert error(answer)["code"] == "unsupported_model"


async def test_where_no_model_embeds_the_error_says_so() -> None:
    async with server(served(FakeBackend([]))) as client:
        answer = await client.post(EMBEDDINGS, json={"model": "demo", "input": "a"})
    assert error(answer)["message"].endswith("none is served here")


async def test_models_and_status_say_what_each_does() -> None:
    async with gateway() as (_, client):
        models = (await client.get("/v1/models")).json()["data"]
        status = (await client.get("/v1/status")).json()["models"]
    for rows in (models, status):
        assert {row["id"]: row["task"] for row in rows} == {
            "chat": "generate",
            "embed": "embed",
            "rerank": "rerank",
        }


async def test_each_is_alive_that_does_what_it_is_for() -> None:
    async with gateway() as (stand_in, client):
        answer = await client.get("/health")
        assert answer.status_code == 200, answer.text
    assert {path for path, _ in stand_in.asked} == {EMBEDDINGS, RERANK}


@pytest.mark.parametrize(
    ("model", "path", "reply"),
    [("embed", EMBEDDINGS, b'{"data":[]}'), ("rerank", RERANK, b'{"results":[]}')],
)
async def test_a_server_that_answers_without_doing_it_is_not_alive(
    model: str, path: str, reply: bytes
) -> None:
    async with gateway() as (stand_in, client):
        stand_in.routes[path] = lambda _: reply
        answer = await client.get("/readyz", params={"model": model})
    assert answer.status_code == 503
    assert "gave no" in answer.text


async def test_tokens_of_texts_are_counted_and_none_are_generated() -> None:
    async with gateway() as (_, client):
        await embed(client, input=["a", "b"])
        metrics = (await client.get("/metrics")).text
    assert 'enginix_prompt_tokens_total{model="embed"} 4.0' in metrics
    assert 'enginix_generated_tokens_total{model="embed"} 0.0' in metrics


@pytest.mark.parametrize("path", [EMBEDDINGS, RERANK, "/v2/rerank", "/rerank"])
async def test_every_path_wants_a_key_where_keys_are_configured(path: str) -> None:
    async with gateway(Settings(api_keys=frozenset({"secret"}))) as (stand_in, client):
        answer = await client.post(path, json={})
    assert answer.status_code == 401
    assert not stand_in.asked


async def test_a_key_gets_the_embeddings_of_its_own_models_only_and_is_charged(
    tmp_path: Path,
) -> None:
    keys = key_file(tmp_path, narrow='models = ["chat"]', wide="tokens_per_minute = 100")
    settings = Settings(key_file=keys, usage_directory=tmp_path / "usage")
    body = {"model": "embed", "input": ["a", "b"]}
    async with gateway(settings) as (stand_in, client):
        status = {}
        for name in ("narrow", "wide"):
            headers = {"Authorization": f"Bearer sk-{name}"}
            status[name] = (await client.post(EMBEDDINGS, json=body, headers=headers)).status_code
        metrics = (await client.get("/metrics")).text
    assert status == {"narrow": 404, "wide": 200}
    # Metrics probe idle models, as health does.
    assert len(stand_in.asked_at(EMBEDDINGS)) == 1
    assert re.search(r'enginix_key_prompt_tokens_total\{[^}]*key="wide"[^}]*\} 4\.0', metrics)
