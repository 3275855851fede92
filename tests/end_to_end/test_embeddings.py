"""The real llama-server embeds and reranks behind the gateway, asked by the `openai` package."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from math import hypot
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from fakes.rerank_model import make_reranker
from gateway.harness import server
from openai import AsyncOpenAI, BadRequestError

import enginix.serve
from enginix.backends.openai.server import OpenAIBackend
from enginix.gateway.models.registry import PassthroughModel
from enginix.runtimes.runtime import Runtime
from tests.conftest import free_ports, logged_program

pytestmark = pytest.mark.triton

PROGRAM = Path(enginix.serve.__path__[0]) / "llama_server.py"
TEXTS = ["The capital of France is Paris.", "Bread is made of flour."]
CONTEXT = 256
WIDTH = 192
TOO_LONG = "word " * CONTEXT


class Servers(NamedTuple):
    embed: str
    rerank: str


def command(runtime: Runtime, port: int, model: Path, *options: str) -> list[str]:
    usual = ["--alias=m", "--threads=1", "--parallel=2", f"--context={CONTEXT}"]
    return [
        str(runtime.python),
        str(PROGRAM),
        f"--model={model}",
        f"--port={port}",
        *usual,
        *options,
    ]


@pytest.fixture(scope="module")
def servers(
    runtime: Runtime, demo_engine: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    """The demo model as an embedder, and with a head of its own as a reranker."""
    model = demo_engine / "model.gguf"
    ranker = make_reranker(model, tmp_path_factory.mktemp("rerank") / "model.gguf")
    one, two = free_ports(2)
    embedder = command(runtime, one, model, "--task=embed", "--pooling=mean")
    reranker = command(runtime, two, ranker, "--task=rerank")
    line = "llama-server serves"
    with logged_program(embedder, line), logged_program(reranker, line):
        yield Servers(f"http://127.0.0.1:{one}", f"http://127.0.0.1:{two}")


@asynccontextmanager
async def gateway(servers: Servers) -> AsyncIterator[httpx.AsyncClient]:
    models = [
        PassthroughModel(
            task, OpenAIBackend("llama-server", url, "m", task=task, probe_seconds=30), "llamacpp"
        )
        for task, url in servers._asdict().items()
    ]
    async with server(*models) as client:
        yield client


@asynccontextmanager
async def openai_client(servers: Servers) -> AsyncIterator[AsyncOpenAI]:
    async with gateway(servers) as client:
        base_url = f"{client.base_url}/v1"
        async with AsyncOpenAI(base_url=base_url, api_key="sk-dummy", max_retries=0) as openai:
            yield openai


async def test_the_openai_client_gets_the_same_numbers_in_either_encoding(servers: Servers) -> None:
    async with openai_client(servers) as client:
        # Its default is base64, which it decodes itself.
        packed = await client.embeddings.create(model="embed", input=TEXTS)
        plain = await client.embeddings.create(model="embed", input=TEXTS, encoding_format="float")
    assert packed.model == "embed"
    assert [row.index for row in packed.data] == [0, 1]
    for row, same in zip(packed.data, plain.data, strict=True):
        assert row.embedding == pytest.approx(same.embedding, abs=1e-6)
        assert (len(row.embedding), hypot(*row.embedding)) == (WIDTH, pytest.approx(1, abs=1e-4))
    assert packed.data[0].embedding != packed.data[1].embedding
    assert packed.usage.prompt_tokens == packed.usage.total_tokens > 2


@pytest.mark.parametrize("inputs", [[[5, 6, 7], [8]], [*TEXTS, "No."]], ids=["tokens", "texts"])
async def test_an_embedding_does_not_depend_on_what_is_embedded_with_it(
    servers: Servers, inputs: Any
) -> None:
    async with openai_client(servers) as client:
        together = await client.embeddings.create(model="embed", input=inputs)
        for row, each in zip(together.data, inputs, strict=True):
            alone = await client.embeddings.create(model="embed", input=each)
            assert row.embedding == pytest.approx(alone.data[0].embedding, abs=5e-3)


async def test_dimensions_that_the_server_would_ignore_are_refused(servers: Servers) -> None:
    async with openai_client(servers) as client:
        with pytest.raises(BadRequestError, match=f"the embeddings of embed have {WIDTH}"):
            await client.embeddings.create(model="embed", input="a", dimensions=8)
        same = await client.embeddings.create(model="embed", input="a", dimensions=WIDTH)
    assert len(same.data[0].embedding) == WIDTH


@pytest.mark.parametrize(
    ("given", "words"),
    [(TOO_LONG, "context"), ([1 << 20], "invalid tokens")],
    ids=["too long", "no such token"],
)
async def test_what_the_model_cannot_read_is_the_clients_mistake(
    servers: Servers, given: Any, words: str
) -> None:
    async with openai_client(servers) as client:
        with pytest.raises(BadRequestError, match=words):
            await client.embeddings.create(model="embed", input=given)


async def test_documents_are_scored_and_only_the_best_are_returned(servers: Servers) -> None:
    body = {"model": "rerank", "query": "What is bread?", "documents": [*TEXTS, {"text": "No."}]}
    async with gateway(servers) as client:
        every = (await client.post("/v1/rerank", json=body)).json()
        best = (await client.post("/v1/rerank", json={**body, "top_n": 1})).json()
        long = await client.post("/v1/rerank", json={**body, "documents": [TOO_LONG]})
    scores = {each["index"]: each["relevance_score"] for each in every["results"]}
    assert scores.keys() == {0, 1, 2}
    assert [each["index"] for each in best["results"]] == [max(scores, key=lambda n: scores[n])]
    assert (every["model"], long.status_code) == ("rerank", 400)


async def test_both_are_alive_by_what_they_do(servers: Servers) -> None:
    async with gateway(servers) as client:
        answer = await client.get("/health")
    assert answer.status_code == 200, answer.text


async def test_chats_and_embeddings_of_the_wrong_model_are_refused(servers: Servers) -> None:
    async with openai_client(servers) as client:
        with pytest.raises(BadRequestError, match="embed embeds texts"):
            await client.chat.completions.create(
                model="embed", messages=[{"role": "user", "content": "Hi"}]
            )
        with pytest.raises(BadRequestError, match="rerank reranks documents"):
            await client.embeddings.create(model="rerank", input="a")


def test_a_file_that_does_not_say_how_to_pool_ends_with_what_to_do(
    runtime: Runtime, demo_engine: Path
) -> None:
    (port,) = free_ports(1)
    argv = command(runtime, port, demo_engine / "model.gguf", "--task=embed")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "--pooling=mean, cls or last" in done.stderr.splitlines()[-1]
