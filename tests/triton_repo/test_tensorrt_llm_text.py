"""Stands in for the C++ `tensorrt_llm` in the real Triton: answers with the prompt's own tokens.

Only the C++ backend is exchanged, which needs a GPU: every configuration is the rendered one.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest

from enginix.generation.request import TokenRequest
from enginix.manifest import BuiltWith
from enginix.runtimes.runtime import Runtime
from enginix.triton.client.client import TritonClient
from enginix.triton.server.repository import render_repository
from tests.fakes.token_triton import served_repository
from tests.triton.engines import tensorrt_llm_manifest

pytestmark = pytest.mark.triton

ECHO = Path(__file__).parents[1] / "fakes" / "echo_tensorrt_llm"

# Several tokens each for the demo's tokenizer: bytes of one character.
SPLIT = "Ḧ𒀀 ok 🧑‍🚀!"


@dataclass(frozen=True)
class TextModels:
    url: str
    grpc: str
    client: httpx.Client

    def generate(self, model: str, text: str, max_tokens: int, **options: Any) -> dict[str, Any]:
        body = {"text_input": text, "max_tokens": max_tokens, **options}
        answer = self.client.post(f"{self.url}/v2/models/{model}/generate", json=body)
        return dict(answer.json())

    def stream(self, model: str, text: str, max_tokens: int, **options: Any) -> Iterator[str]:
        body = {"text_input": text, "max_tokens": max_tokens, "stream": True, **options}
        url = f"{self.url}/v2/models/{model}/generate_stream"
        with self.client.stream("POST", url, json=body) as response:
            for line in response.iter_lines():
                if line:
                    yield json.loads(line.removeprefix("data: "))["text_output"]

    def report(self) -> list[int]:
        """How many requests the echo answers, and how many were stopped."""
        body = {"id": "report", "input_lengths": 1, "request_output_len": 1, "input_ids": [1]}
        url = f"{self.url}/v2/models/tensorrt_llm/generate"
        return list(self.client.post(url, json=body).json()["output_ids"])


@contextmanager
def text_models(
    engine: Path, runtime: Runtime, directory: Path, version: str
) -> Iterator[TextModels]:
    manifest = tensorrt_llm_manifest(built_with=BuiltWith("0.1.0", tensorrt_llm=version))
    repository = directory / "repository"
    render_repository(engine, manifest, repository)
    config = repository / "tensorrt_llm" / "config.pbtxt"
    config.write_text(config.read_text().replace('backend: "tensorrtllm"', 'backend: "python"'))
    shutil.copy(ECHO / "model.py", repository / "tensorrt_llm" / "1")
    with served_repository(runtime, repository) as server, httpx.Client(timeout=60) as client:
        yield TextModels(server.http, server.address, client)


@pytest.fixture(scope="module")
def models(
    demo_engine: Path, runtime: Runtime, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TextModels]:
    with text_models(demo_engine, runtime, tmp_path_factory.mktemp("new"), "1.2.1") as running:
        yield running


def length(models: TextModels, text: str) -> int:
    answer = models.generate("ensemble", text, 1, return_num_input_tokens=True)
    return int(answer["num_input_tokens"])


@pytest.mark.parametrize("model", ["ensemble", "tensorrt_llm_bls"])
def test_an_answer_in_one_response_is_exact(models: TextModels, model: str) -> None:
    answer = models.generate(model, SPLIT, length(models, SPLIT))
    assert answer["text_output"] == SPLIT


def test_a_stream_of_the_bls_model_has_whole_characters(models: TextModels) -> None:
    count = length(models, SPLIT)
    parts = list(models.stream("tensorrt_llm_bls", SPLIT, count))
    assert "".join(parts) == SPLIT
    assert len(parts) == count
    assert not any("\N{REPLACEMENT CHARACTER}" in part for part in parts)


def test_a_stream_that_ends_within_a_character_says_so_once(models: TextModels) -> None:
    parts = list(models.stream("tensorrt_llm_bls", "𒀀", 1))
    assert parts == ["", "\N{REPLACEMENT CHARACTER}"]


def test_many_streams_at_a_time_do_not_mix(models: TextModels) -> None:
    texts = [f"{SPLIT} number {number}" for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        found = list(
            pool.map(
                lambda text: "".join(models.stream("tensorrt_llm_bls", text, length(models, text))),
                texts,
            )
        )
    assert found == texts


def test_a_stream_of_the_ensemble_keeps_spaces_and_whole_tokens(models: TextModels) -> None:
    text = "Words, and words again."
    assert "".join(models.stream("ensemble", text, length(models, text))) == text


def test_a_client_that_leaves_stops_the_generation(models: TextModels) -> None:
    running, stopped = models.report()
    parts = models.stream("tensorrt_llm_bls", "on and on", 100_000, seed=1000)
    next(parts)
    assert models.report() == [running + 1, stopped]
    parts.close()  # type: ignore[attr-defined]
    asked = (models.report() for _ in range(2000))
    assert [running, stopped + 1] in asked


def test_clients_that_stay_and_clients_that_leave_do_not_harm_each_other(
    models: TextModels,
) -> None:
    def leave(_: int) -> None:
        next(parts := models.stream("tensorrt_llm_bls", "on and on", 100_000, seed=1000))
        parts.close()  # type: ignore[attr-defined]

    def stay(_: int) -> str:
        return "".join(models.stream("tensorrt_llm_bls", "0123456789" * 2, 20))

    with ThreadPoolExecutor(8) as pool:
        left = [pool.submit(leave, number) for number in range(20)]
        assert set(pool.map(stay, range(20))) == {"0123456789" * 2}
    assert not any(each.exception() for each in left)


def test_many_clients_that_stream_and_leave_at_once_never_stop_the_model(
    models: TextModels,
) -> None:
    """With a thread for each request, the stub stood still after 30 to 840 of them."""
    until = time.monotonic() + 20

    def read_some(number: int) -> int:
        if time.monotonic() > until:
            return 0
        parts = models.stream("tensorrt_llm_bls", "0123456789", 100)
        count = len(list(islice(parts, 1 + number % 30)))
        parts.close()  # type: ignore[attr-defined]
        return count

    with ThreadPoolExecutor(16) as pool:
        counts = pool.map(read_some, range(3000))
        assert all(count in (0, 1 + number % 30) for number, count in enumerate(counts))


@pytest.mark.parametrize("model", ["ensemble", "tensorrt_llm_bls"])
def test_an_error_of_the_model_behind_reaches_the_client(models: TextModels, model: str) -> None:
    answer = models.generate(model, "hello", 5, temperature=-1.0)
    assert "temperature is negative" in answer["error"]


def test_a_mistake_that_preprocessing_finds_reaches_the_client(models: TextModels) -> None:
    answer = models.generate("tensorrt_llm_bls", "hello", 5, embedding_bias_words=["a"])
    assert "expected one weight for each word" in answer["error"]


@pytest.mark.parametrize("transport", ["http2", "grpc-aio"])
async def test_what_every_response_says_of_the_cache_is_read_of_the_first(
    models: TextModels, transport: str
) -> None:
    client = TritonClient(models.grpc, transport=transport)
    request = TokenRequest([5, 6, 7], 30, request_id=f"reuse-{transport}")
    async with aclosing(client.generate(request)) as arrivals:
        chunks = [chunk async for some in arrivals for chunk in some]
    await client.close()
    assert [chunk.ids for chunk in chunks] == [(5,), (6,), (7,)] * 10
    assert chunks[0].reused_blocks == 3
    # The others were read without a look at what follows their tokens, all but the last.
    assert [chunk.reused_blocks for chunk in chunks[1:-1]] == [None] * 28


def test_outputs_beside_the_text_come_when_asked_for(models: TextModels) -> None:
    plain = models.generate("tensorrt_llm_bls", "hello", 1)
    assert "num_input_tokens" not in plain
    counted = models.generate("tensorrt_llm_bls", "hello", 1, return_num_input_tokens=True)
    assert counted["num_input_tokens"] == length(models, "hello")


def test_the_older_generation_loads_with_its_own_names(
    demo_engine: Path, runtime: Runtime, tmp_path: Path
) -> None:
    with text_models(demo_engine, runtime, tmp_path, "0.18.2") as older:
        answer = older.generate("ensemble", "hello", 1, random_seed=7, min_length=1)
        assert answer["text_output"]
        assert "random_seed" in httpx.get(f"{older.url}/v2/models/ensemble").text
