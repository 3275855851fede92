"""What clients send, against the whole stack: the model, Triton and the gateway."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.end_to_end.gateway_process import RunningGateway

pytestmark = pytest.mark.triton

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather in a city.",
    "parameters": CITY,
}


def post(gateway: RunningGateway, path: str, **body: Any) -> Any:
    answer = httpx.post(
        f"{gateway.url}{path}", json={"model": "demo", "temperature": 0, **body}, timeout=60
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_stop_string_does_not_end_the_reasoning(gateway: RunningGateway) -> None:
    question = [{"role": "user", "content": "What is 2 + 3?"}]
    body = {"messages": question, "stop": ["I"]}
    (choice,) = post(gateway, "/v1/chat/completions", **body)["choices"]
    assert "I" in choice["message"]["reasoning_content"]
    assert "5" in choice["message"]["content"]


def test_a_namespaces_function_makes_its_round_trip(gateway: RunningGateway) -> None:
    space = {"type": "namespace", "name": "mcp__weather", "tools": [WEATHER]}
    conversation: list[dict[str, Any]] = [
        {"role": "user", "content": "What is the weather in Paris?"}
    ]
    body = {"tools": [space], "tool_choice": "required"}
    first = post(gateway, "/v1/responses", input=conversation, **body)
    call = first["output"][-1]
    assert (call["namespace"], call["name"]) == ("mcp__weather", "get_weather")
    assert json.loads(call["arguments"]).keys() == {"city"}
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "10 C"}
    second = post(
        gateway, "/v1/responses", input=[*conversation, *first["output"], result], tools=[space]
    )
    assert second["status"] == "completed"


def test_log_probabilities_of_a_response_come_from_the_engine(gateway: RunningGateway) -> None:
    response = post(gateway, "/v1/responses", input="What is 2 + 3?", top_logprobs=2)
    (content,) = response["output"][-1]["content"]
    spelled = b"".join(bytes(entry["bytes"]) for entry in content["logprobs"])
    assert spelled.decode() == content["text"]
    assert all(len(entry["top_logprobs"]) == 2 for entry in content["logprobs"])


def test_a_custom_tool_is_called_with_text(gateway: RunningGateway) -> None:
    tool = {"type": "custom", "name": "say", "description": "Says something."}
    body = {"tools": [tool], "tool_choice": {"type": "custom", "name": "say"}}
    response = post(gateway, "/v1/responses", input="Say hello.", max_output_tokens=300, **body)
    # A tiny model may generate up to the limit: then there is no call, and never half of one.
    assert bool(response["output"]) == (response["status"] == "completed")
    for item in response["output"]:
        assert (item["type"], item["status"]) == ("custom_tool_call", "completed")
        assert isinstance(item["input"], str)


def test_langchains_schema_of_a_class_gets_its_fields_and_no_others(
    gateway: RunningGateway,
) -> None:
    joke = {
        "type": "object",
        "properties": {
            "setup": {"title": "Setup", "type": "string"},
            "punchline": {"title": "Punchline", "type": "string"},
        },
        "required": ["setup", "punchline"],
    }
    named = {"name": "Joke", "description": "Joke to tell user.", "strict": False, "schema": joke}
    (choice,) = post(
        gateway,
        "/v1/chat/completions",
        messages=[{"role": "user", "content": "Tell me a joke about cats."}],
        response_format={"type": "json_schema", "json_schema": named},
        max_tokens=300,
    )["choices"]
    assert choice["finish_reason"] == "stop"
    assert set(json.loads(choice["message"]["content"])) == {"setup", "punchline"}


def test_lm_evals_request_gets_each_prompts_log_probabilities(gateway: RunningGateway) -> None:
    """It adds up those of an answer, without the one token that it had to ask for."""
    texts = ["The capital of France is Paris", "The capital of France is a Turtle"]
    prompts = [post(gateway, "/tokenize", prompt=text)["tokens"] for text in texts]
    asked = {"prompt": prompts, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": True}
    choices = post(gateway, "/v1/completions", **asked)["choices"]
    found = [choice["logprobs"] for choice in choices]
    assert [len(each["token_logprobs"]) for each in found] == [len(ids) + 1 for ids in prompts]
    paris, turtle = (sum(each["token_logprobs"][1:-1]) for each in found)
    assert turtle < paris < 0
    for each in found:
        assert each["top_logprobs"][0] is each["token_logprobs"][0] is None
        for logprob, top in zip(each["token_logprobs"][1:], each["top_logprobs"][1:], strict=True):
            assert logprob <= max(top.values())
