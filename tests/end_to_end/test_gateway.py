"""The gateway in front of the real Triton gives the demo model's exact answers."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import httpx
import pytest

from tests.end_to_end.gateway_process import RunningGateway

pytestmark = pytest.mark.triton

END = "<|im_end|>"


def body_of(entry: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "model": "demo",
        "messages": entry["messages"],
        "tools": entry["tools"],
        "temperature": 0,
        "chat_template_kwargs": {"enable_thinking": entry["thinking"]},
        **more,
    }


def expected(entry: dict[str, Any]) -> tuple[str, str, list[Any]]:
    """Reasoning, content and calls, parsed from the answer as simply as possible."""
    answer = entry["answer"].removesuffix(END)
    reasoning, calls = "", []
    if answer.startswith("<think>"):
        thought, _, answer = answer.partition("</think>\n\n")
        reasoning = thought.removeprefix("<think>\n").removesuffix("\n")
    if answer.startswith("<tool_call>"):
        text = answer.removeprefix("<tool_call>").removesuffix("</tool_call>")
        calls, answer = [json.loads(text)], ""
    return reasoning, answer, calls


def parts(message: dict[str, Any]) -> tuple[str, str, list[Any]]:
    calls = [
        {"name": call["function"]["name"], "arguments": json.loads(call["function"]["arguments"])}
        for call in message.get("tool_calls") or []
    ]
    return message.get("reasoning_content") or "", message["content"] or "", calls


async def answer_all(
    gateway: RunningGateway, bodies: list[dict[str, Any]], at_once: int
) -> list[dict[str, Any]]:
    turns = asyncio.Semaphore(at_once)
    limits = httpx.Limits(max_connections=at_once)
    async with httpx.AsyncClient(timeout=120, limits=limits, trust_env=False) as client:

        async def answer(body: dict[str, Any]) -> dict[str, Any]:
            async with turns:
                response = await client.post(f"{gateway.base_url}/chat/completions", json=body)
            assert response.status_code == 200, response.text
            found: dict[str, Any] = response.json()
            return found

        return await asyncio.gather(*map(answer, bodies))


async def test_every_known_answer_is_parsed(
    gateway: RunningGateway, evals: list[dict[str, Any]]
) -> None:
    answers = await answer_all(gateway, [body_of(entry) for entry in evals], 16)
    wrong = [
        (expected(entry), parts(answer["choices"][0]["message"]))
        for entry, answer in zip(evals, answers, strict=True)
        if expected(entry) != parts(answer["choices"][0]["message"])
    ]
    assert wrong == []
    assert len(answers) == 284


async def test_counts_and_reasons_are_the_models_own(
    gateway: RunningGateway, evals: list[dict[str, Any]]
) -> None:
    chosen = evals[::7]
    answers = await answer_all(gateway, [body_of(entry) for entry in chosen], 16)
    for entry, answer in zip(chosen, answers, strict=True):
        usage = answer["usage"]
        assert usage["prompt_tokens"] == len(entry["prompt_ids"])
        # The last token ends the turn and is not part of the answer.
        assert usage["completion_tokens"] == len(entry["answer_ids"]) - 1
        reason = "tool_calls" if expected(entry)[2] else "stop"
        assert answer["choices"][0]["finish_reason"] == reason


async def test_two_hundred_concurrent_chats_all_get_the_right_answer(
    gateway: RunningGateway, evals: list[dict[str, Any]]
) -> None:
    chosen = [entry for entry in evals if not entry["thinking"]]
    chosen = (chosen * 2)[:200]
    answers = await answer_all(gateway, [body_of(entry) for entry in chosen], 200)
    right = Counter(
        expected(entry) == parts(answer["choices"][0]["message"])
        for entry, answer in zip(chosen, answers, strict=True)
    )
    assert right == {True: 200}


async def test_an_answer_follows_its_schema(gateway: RunningGateway) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}, "degrees": {"enum": [1, 2]}},
        "required": ["city", "degrees"],
        "additionalProperties": False,
    }
    body = {
        "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
        "response_format": {"type": "json_schema", "json_schema": {"schema": schema}},
        "max_tokens": 100,
    }
    (answer,) = await answer_all(gateway, [body], 1)
    content = json.loads(answer["choices"][0]["message"]["content"])
    assert set(content) == {"city", "degrees"}


async def test_an_answer_follows_its_schema_after_free_reasoning(gateway: RunningGateway) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"const": "Paris"}},
        "required": ["city"],
        "additionalProperties": False,
    }
    body = {
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "response_format": {"type": "json_schema", "json_schema": {"schema": schema}},
        "chat_template_kwargs": {"enable_thinking": True},
        "temperature": 0,
        "max_tokens": 200,
    }
    (answer,) = await answer_all(gateway, [body], 1)
    message = answer["choices"][0]["message"]
    assert "I know that it is Paris" in message["reasoning_content"]
    assert json.loads(message["content"])["city"] == "Paris"


async def test_a_prompt_longer_than_the_context_is_refused_with_both_lengths(
    gateway: RunningGateway,
) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.post(
            f"{gateway.base_url}/chat/completions",
            json={"messages": [{"role": "user", "content": "word " * 50_000}]},
        )
    error = response.json()["error"]
    assert response.status_code == 400
    assert error["code"] == "context_length_exceeded"
    assert "40960" in error["message"]


async def test_log_probabilities_come_from_the_model(gateway: RunningGateway) -> None:
    body = {
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "temperature": 0,
        "logprobs": True,
    }
    (answer,) = await answer_all(gateway, [body], 1)
    tokens = answer["choices"][0]["logprobs"]["content"]
    assert len(tokens) == answer["usage"]["completion_tokens"]
    assert all(token["logprob"] <= 0 for token in tokens)
