"""The `anthropic` package against the whole stack."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from anthropic import Anthropic, BadRequestError

from tests.end_to_end.gateway_process import RunningGateway

pytestmark = pytest.mark.triton

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER = {
    "name": "get_weather",
    "description": "Get the current weather in a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[Anthropic]:
    with Anthropic(base_url=gateway.url, api_key="sk-dummy", max_retries=0) as client:
        yield client


def test_a_stream_has_reasoning_and_then_an_answer(client: Anthropic) -> None:
    with client.messages.stream(
        model="demo",
        messages=QUESTION,
        max_tokens=1200,
        extra_body={"temperature": 0},
        thinking={"type": "enabled", "budget_tokens": 1024},
    ) as stream:
        for _ in stream:
            pass
        message = stream.get_final_message()
    thinking, text = message.content
    assert "I know that it is Paris" in thinking.thinking
    assert text.text == "The capital of France is Paris."
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens == 31


def test_a_tool_makes_its_round_trip(client: Anthropic) -> None:
    question = {"role": "user", "content": "What is the weather in Paris?"}
    asked = {"model": "demo", "max_tokens": 200, "tools": [WEATHER]}
    asked["extra_body"] = {"temperature": 0}
    first = client.messages.create(messages=[question], **asked)
    (call,) = first.content
    assert (first.stop_reason, call.input) == ("tool_use", {"city": "Paris"})
    result = {
        "type": "tool_result",
        "tool_use_id": call.id,
        "content": '{"city": "Paris", "temperature_c": 10}',
    }
    answer = {"role": "assistant", "content": first.content}
    messages = [question, answer, {"role": "user", "content": [result]}]
    last = client.messages.create(messages=messages, **asked)
    assert "10 degrees in Paris" in last.content[0].text


def test_tokens_are_counted(client: Anthropic) -> None:
    counted = client.messages.count_tokens(model="demo", messages=QUESTION)
    message = client.messages.create(model="demo", messages=QUESTION, max_tokens=1)
    cached = message.usage.cache_read_input_tokens
    assert counted.input_tokens == message.usage.input_tokens + cached


def test_the_second_turn_of_a_conversation_reads_the_first_from_the_cache(
    client: Anthropic,
) -> None:
    turns: list[object] = [{"role": "user", "content": "Name the capital of Sweden, please."}]
    asked = {"model": "demo", "max_tokens": 20, "extra_body": {"temperature": 0}}
    first = client.messages.create(messages=turns, **asked)
    turns += [
        {"role": "assistant", "content": first.content[0].text},
        {"role": "user", "content": "Thank you."},
    ]
    counted = client.messages.count_tokens(model="demo", messages=turns).input_tokens
    with client.messages.stream(messages=turns, **asked) as stream:
        usage = stream.get_final_message().usage
    assert 0 < usage.cache_read_input_tokens < counted
    assert usage.input_tokens + usage.cache_read_input_tokens == counted


def test_errors_are_the_clients_own_exceptions(client: Anthropic) -> None:
    image = {"type": "image", "source": {"type": "url", "url": "http://x/y.png"}}
    with pytest.raises(BadRequestError, match="reads text"):
        client.messages.create(
            model="demo", messages=[{"role": "user", "content": [image]}], max_tokens=5
        )
