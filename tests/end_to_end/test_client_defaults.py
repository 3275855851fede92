"""Clients get the demo's answers at their own defaults: no temperature, and thousands of tokens."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.agents.heard import hear
from tests.agents.sequences import SEQUENCES, Sequence
from tests.end_to_end.gateway_process import RunningGateway
from tests.end_to_end.test_gateway import answer_all, body_of, expected, parts

pytestmark = pytest.mark.triton

QUESTION = {"role": "user", "content": "What is the capital of France?"}
TWENTY_THOUSAND_TOKENS = "word " * 10_000


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, timeout=300, trust_env=False) as client:
        yield client


async def test_without_a_temperature_20_of_20_answers_are_the_recorded_ones(
    gateway: RunningGateway, evals: list[dict[str, Any]]
) -> None:
    asked = evals[::14][:20]
    bodies = [body_of(entry) for entry in asked]
    for body in bodies:
        del body["temperature"]
    answers = await answer_all(gateway, bodies, 4)
    found = [parts(answer["choices"][0]["message"]) for answer in answers]
    assert found == [expected(entry) for entry in asked]
    assert len(found) == 20


async def test_a_clients_temperature_counts(gateway: RunningGateway) -> None:
    body = {"model": "demo", "messages": [QUESTION], "temperature": 2, "max_tokens": 20}
    answers = await answer_all(gateway, [{**body, "seed": seed} for seed in range(8)], 4)
    assert len({json.dumps(answer["choices"][0]["message"]) for answer in answers}) > 1


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda sequence: sequence.recording)
def test_every_request_of_an_agent_is_answered(sequence: Sequence, client: httpx.Client) -> None:
    for request in sequence.requests():
        heard = hear(client, request["path"], {**request["body"], "model": "demo"}, {})
        assert heard.end


async def test_thousands_of_tokens_of_tools_and_instructions_do_not_change_the_answer(
    gateway: RunningGateway, evals: list[dict[str, Any]]
) -> None:
    asked = [one for one in evals if one["messages"][-1]["role"] == "user"][::60]
    function = {"name": "do_nothing", "description": "word " * 600}
    tools = [{"type": "function", "function": function}] * 30
    system = {"role": "system", "content": "You are an agent. " * 1000}
    bodies = [
        {
            **body_of(one),
            "messages": [system, *one["messages"]],
            "tools": tools + (one["tools"] or []),
        }
        for one in asked
    ]
    answers = await answer_all(gateway, bodies, 4)
    found = [parts(answer["choices"][0]["message"]) for answer in answers]
    assert found == [expected(one) for one in asked]


def test_a_request_of_twenty_thousand_tokens_is_answered_and_its_next_turn_at_once(
    client: httpx.Client,
) -> None:
    (sequence,) = [one for one in SEQUENCES if one.recording == "claude-code"]
    request = next(one for one in sequence.requests() if one["body"].get("tools"))
    asked: list[dict[str, Any]] = [{"role": "user", "content": TWENTY_THOUSAND_TOKENS}]
    body = {**request["body"], "model": "demo", "stream": False, "max_tokens": 5, "messages": asked}

    def seconds_for_answer() -> float:
        start = time.monotonic()
        answer = client.post(request["path"], json=body)
        assert answer.status_code == 200, answer.text
        usage = answer.json()["usage"]
        assert usage["input_tokens"] + usage["cache_read_input_tokens"] > 20_000
        assert usage["output_tokens"] > 0
        return time.monotonic() - start

    first = seconds_for_answer()
    body["messages"] = [*asked, {"role": "assistant", "content": "Words."}, QUESTION]
    second = seconds_for_answer()
    print(f"20,000 tokens: {first:.1f} s, then {second:.1f} s")
    assert second < first / 2
