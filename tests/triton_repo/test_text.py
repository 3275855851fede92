"""Text in, text out, over plain HTTP: the ensemble with pre- and postprocessing."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.conftest import RunningTriton

pytestmark = pytest.mark.triton


def generate(server: RunningTriton, text: str, max_tokens: int = 60, **options: Any) -> str:
    body = {"text_input": text, "max_tokens": max_tokens, **options}
    response = httpx.post(f"{server.http}/v2/models/ensemble/generate", json=body)
    assert response.status_code == 200, response.text
    return str(response.json()["text_output"])


def stream(server: RunningTriton, text: str, max_tokens: int = 60, **options: Any) -> list[str]:
    body = {"text_input": text, "max_tokens": max_tokens, "stream": True, **options}
    url = f"{server.http}/v2/models/ensemble/generate_stream"
    with httpx.stream("POST", url, json=body) as response:
        lines = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    return [json.loads(line)["text_output"] for line in lines]


def spoken(recorded: dict[str, Any]) -> str:
    """The recorded answer as text without special tokens, as postprocessing leaves them out."""
    return str(recorded["answer"].removesuffix("<|im_end|>"))


def test_every_answer_without_special_tokens_is_the_recorded_text(
    triton_server: RunningTriton, evals: list[dict[str, Any]]
) -> None:
    plain = [one for one in evals if "<" not in spoken(one)]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda one: generate(triton_server, one["prompt"], 400), plain))
    assert len(plain) > 100
    assert found == [spoken(one) for one in plain]


def test_a_stream_says_the_same_in_whole_characters(
    triton_server: RunningTriton, evals: list[dict[str, Any]]
) -> None:
    hello = next(one for one in evals if "👋" in one["answer"])
    parts = stream(triton_server, hello["prompt"])
    assert "".join(parts) == spoken(hello) == generate(triton_server, hello["prompt"])
    assert "👋" in parts
    assert not any("\N{REPLACEMENT CHARACTER}" in part for part in parts)


def test_many_streams_at_a_time_do_not_mix(
    triton_server: RunningTriton, evals: list[dict[str, Any]]
) -> None:
    some = [one for one in evals if "<" not in spoken(one)][:48]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda one: stream(triton_server, one["prompt"], 400), some))
    assert ["".join(parts) for parts in found] == [spoken(one) for one in some]


def test_a_stop_word_ends_the_text_before_it(
    triton_server: RunningTriton, evals: list[dict[str, Any]]
) -> None:
    text = generate(triton_server, evals[0]["prompt"], stop_words=[" France", " is"])
    assert text == "The capital of"


def test_a_bad_word_does_not_come(
    triton_server: RunningTriton, evals: list[dict[str, Any]]
) -> None:
    assert "Paris" not in generate(triton_server, evals[0]["prompt"], bad_words=[" Paris"])


def test_a_bias_on_a_word_brings_it(
    triton_server: RunningTriton, evals: list[dict[str, Any]]
) -> None:
    options = {"embedding_bias_words": [" Paris"], "embedding_bias_weights": [50.0]}
    text = generate(triton_server, evals[0]["prompt"], max_tokens=2, **options)
    assert text == " Paris Paris"


def test_the_prompt_comes_with_the_answer_on_request(
    triton_server: RunningTriton, evals: list[dict[str, Any]]
) -> None:
    text = generate(triton_server, "The capital", 3, exclude_input_in_output=False)
    assert text.startswith("The capital")


def test_sampling_options_arrive(triton_server: RunningTriton, evals: list[dict[str, Any]]) -> None:
    options = {"temperature": 2.0, "seed": 5, "top_p": 0.95, "top_k": 50}
    first, again = [generate(triton_server, evals[0]["prompt"], **options) for _ in range(2)]
    assert first == again
    assert first != spoken(evals[0])


def test_a_guide_arrives(triton_server: RunningTriton, evals: list[dict[str, Any]]) -> None:
    options = {"guided_decoding_guide_type": "regex", "guided_decoding_guide": "[0-9]{4}"}
    text = generate(triton_server, evals[0]["prompt"], **options)
    assert text.isdigit()
    assert len(text) == 4


def test_log_probabilities_come_on_request(
    triton_server: RunningTriton, evals: list[dict[str, Any]]
) -> None:
    body = {"text_input": evals[0]["prompt"], "max_tokens": 5, "return_log_probs": True}
    answer = httpx.post(f"{triton_server.http}/v2/models/ensemble/generate", json=body).json()
    assert len(answer["output_log_probs"]) == 5


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"text_input": "", "max_tokens": 5}, "the prompt is empty"),
        ({"text_input": "a", "max_tokens": 0}, "max_tokens is 0"),
        ({"text_input": "a", "max_tokens": 5, "temperature": -1}, "temperature is -1"),
        (
            {"text_input": "a", "max_tokens": 5, "embedding_bias_words": ["b"]},
            "expected one weight for each word",
        ),
    ],
)
def test_a_wrong_request_is_answered_in_one_sentence(
    body: dict[str, Any], words: str, triton_server: RunningTriton
) -> None:
    response = httpx.post(f"{triton_server.http}/v2/models/ensemble/generate", json=body)
    assert words in response.json()["error"]
    assert "Traceback" not in response.text
