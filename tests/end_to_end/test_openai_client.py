"""The `openai` package, as people use it, against the whole stack."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from openai import APIStatusError, AsyncOpenAI, BadRequestError, NotFoundError, OpenAI

from tests.end_to_end.gateway_process import RunningGateway

pytestmark = pytest.mark.triton

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[OpenAI]:
    with OpenAI(base_url=gateway.base_url, api_key="sk-dummy", max_retries=0) as client:
        yield client


def test_a_chat_streams_its_reasoning_and_then_its_answer(client: OpenAI) -> None:
    order, text = [], {"reasoning_content": "", "content": ""}
    stream = client.chat.completions.create(
        model="demo", messages=QUESTION, temperature=0, stream=True
    )
    for chunk in stream:
        for kind in text:
            if piece := getattr(chunk.choices[0].delta, kind, None):
                order.append(kind)
                text[kind] += piece
    assert "I know that it is Paris" in text["reasoning_content"]
    assert text["content"] == "The capital of France is Paris."
    assert order == sorted(order, reverse=True)


def test_a_tool_call_makes_its_round_trip(client: OpenAI) -> None:
    messages: list[object] = [{"role": "user", "content": "What is the weather in Paris?"}]
    first = client.chat.completions.create(
        model="demo", messages=messages, tools=[WEATHER], temperature=0
    ).choices[0]
    assert first.finish_reason == "tool_calls"
    (call,) = first.message.tool_calls
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    result = {
        "role": "tool",
        "tool_call_id": call.id,
        "content": '{"city": "Paris", "temperature_c": 10}',
    }
    last = client.chat.completions.create(
        model="demo", messages=[*messages, first.message, result], tools=[WEATHER], temperature=0
    ).choices[0]
    assert "10 degrees in Paris" in last.message.content


def test_a_streamed_tool_call_accumulates(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="demo",
        messages=[{"role": "user", "content": "What is the weather in Paris?"}],
        tools=[WEATHER],
        temperature=0,
    ) as stream:
        for _ in stream:
            pass
        choice = stream.get_final_completion().choices[0]
    (call,) = choice.message.tool_calls
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris"}


def test_a_forced_call_calls_the_named_function(client: OpenAI) -> None:
    choice = client.chat.completions.create(
        model="demo",
        messages=[{"role": "user", "content": "What is the weather in Rome?"}],
        tools=[WEATHER],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        temperature=0,
    ).choices[0]
    (call,) = choice.message.tool_calls
    assert json.loads(call.function.arguments) == {"city": "Rome"}


async def test_the_async_client_streams_and_counts(gateway: RunningGateway) -> None:
    async with AsyncOpenAI(base_url=gateway.base_url, api_key="x", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="demo",
            messages=QUESTION,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 31


@pytest.mark.parametrize("stream", [False, True])
def test_the_second_turn_of_a_conversation_finds_the_first_in_the_cache(
    client: OpenAI, stream: bool
) -> None:
    turns: list[object] = [{"role": "user", "content": f"Name the capital of Norway. {stream}"}]
    asked = {"model": "demo", "max_tokens": 20, "temperature": 0, "reasoning_effort": "none"}
    first = client.chat.completions.create(messages=turns, **asked)
    assert first.usage.prompt_tokens_details.cached_tokens < first.usage.prompt_tokens
    turns += [first.choices[0].message, {"role": "user", "content": "Thank you."}]
    if stream:
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
        usage = list(client.chat.completions.create(messages=turns, **asked))[-1].usage
    else:
        usage = client.chat.completions.create(messages=turns, **asked).usage
    assert 0 < usage.prompt_tokens_details.cached_tokens < usage.prompt_tokens


def test_a_response_says_what_of_the_earlier_one_was_in_the_cache(client: OpenAI) -> None:
    first = client.responses.create(model="demo", input="Name the capital of Denmark.")
    asked = {"model": "demo", "previous_response_id": first.id}
    usage = client.responses.create(input="Thank you.", **asked).usage
    assert 0 < usage.input_tokens_details.cached_tokens < usage.input_tokens


def test_a_completion_continues_its_prompt(client: OpenAI) -> None:
    prompt = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    done = client.completions.create(model="demo", prompt=prompt, temperature=0, max_tokens=50)
    assert "The capital of France is Paris." in done.choices[0].text


def test_models_are_listed(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["demo"]
    assert client.models.retrieve("tiny-qwen3").id == "demo"


def test_errors_are_the_clients_own_exceptions(client: OpenAI) -> None:
    with pytest.raises(NotFoundError) as unknown:
        client.chat.completions.create(model="big", messages=QUESTION)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(BadRequestError) as wrong:
        client.chat.completions.create(model="demo", messages=QUESTION, temperature=9)
    assert wrong.value.param == "temperature"
    assert isinstance(wrong.value, APIStatusError)


def test_a_response_streams_its_events_and_is_stored(client: OpenAI) -> None:
    text, last = "", None
    for event in client.responses.create(
        model="demo", input="What is the capital of France?", temperature=0, stream=True
    ):
        if event.type == "response.output_text.delta":
            text += event.delta
        last = event
    assert text == last.response.output_text == "The capital of France is Paris."
    assert client.responses.retrieve(last.response.id).output_text == text


def test_a_responses_tool_makes_its_round_trip(client: OpenAI) -> None:
    tool = {"type": "function", "strict": None, **WEATHER["function"]}
    asked = {"model": "demo", "tools": [tool], "temperature": 0}
    first = client.responses.create(input="What is the weather in Paris?", **asked)
    call = first.output[-1]
    assert json.loads(call.arguments) == {"city": "Paris"}
    output = '{"city": "Paris", "temperature_c": 10}'
    last = client.responses.create(
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": output}],
        previous_response_id=first.id,
        **asked,
    )
    assert "10 degrees in Paris" in last.output_text


def test_a_parsed_response_has_its_schemas_shape(client: OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    answer = client.responses.create(
        model="demo",
        input="What is the capital of France?",
        text={"format": {"type": "json_schema", "name": "city", "schema": schema}},
        max_output_tokens=60,
    )
    assert set(json.loads(answer.output_text)) == {"city"}
