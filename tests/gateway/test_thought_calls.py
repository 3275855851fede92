"""A call that a model wrote into its reasoning reaches the client in every dialect."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.chat_server import CHAT, chat_server, completion, texts
from gateway.either_way import ask, everywhere
from gateway.harness import server, user

from enginix.backends.openai.server import OpenAIBackend
from enginix.gateway.models.registry import PassthroughModel

PARAMETERS = {"type": "object", "properties": {}}
CHAT_TOOL = {"type": "function", "function": {"name": "now", "parameters": PARAMETERS}}
CALL = '<tool_call>{"name": "now", "arguments": {}}</tool_call>'
SAID = f"<think>\nI will look. {CALL}\n</think>\n\n"
ASKED: dict[str, dict[str, Any]] = {
    CHAT: {"messages": user("Hi"), "tools": [CHAT_TOOL]},
    "/v1/messages": {
        "messages": user("Hi"),
        "tools": [{"name": "now", "input_schema": PARAMETERS}],
        "thinking": {"type": "adaptive"},
    },
    "/v1/responses": {
        "input": "Hi",
        "tools": [{"type": "function", "name": "now", "parameters": PARAMETERS}],
    },
}


def summary(path: str, whole: Any) -> tuple[str, str, str]:
    """The reasoning, the calls, and the finish reason."""
    if path == CHAT:
        (choice,) = whole["choices"]
        message = choice["message"]
        (call,) = message["tool_calls"]
        return message["reasoning_content"], call["function"]["name"], choice["finish_reason"]
    if path == "/v1/messages":
        thinking, call = whole["content"]
        return thinking["thinking"], call["name"], whole["stop_reason"]
    reasoning, call = whole["output"]
    return reasoning["content"][0]["text"], call["name"], whole["status"]


@everywhere
@pytest.mark.parametrize("path", ASKED)
async def test_a_call_at_the_end_of_the_reasoning_counts(path: str, theirs: bool) -> None:
    thought, name, reason = summary(path, await ask(path, ASKED[path], SAID, theirs=theirs))
    assert (thought, name) == ("I will look.", "now")
    assert reason in ("tool_calls", "tool_use", "completed")


@everywhere
async def test_a_limit_right_after_it_leaves_it_reasoning(theirs: bool) -> None:
    said = f"<think>\nI could {CALL}"
    (choice,) = (await ask(CHAT, ASKED[CHAT], said, cut=True, theirs=theirs))["choices"]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["reasoning_content"] == f"I could {CALL}"
    assert not choice["message"].get("tool_calls")


@pytest.mark.parametrize("answer", ["", "Done."])
async def test_a_call_in_reasoning_that_the_server_took_out_itself_is_found_too(
    answer: str,
) -> None:
    said = completion(
        {"reasoning_content": f"I will look. {CALL[:9]}"},
        {"reasoning_content": CALL[9:]},
        *texts(*([answer] if answer else [])),
    )
    async with chat_server(said) as (_, url):
        model = PassthroughModel(
            "ours", OpenAIBackend("stand-in", url, "theirs"), "vllm", tools="hermes-json"
        )
        async with server(model) as client:
            whole = (await client.post(CHAT, json={"model": "ours", **ASKED[CHAT]})).json()
    (choice,) = whole["choices"]
    message = choice["message"]
    if answer:
        assert message["reasoning_content"] == f"I will look. {CALL}"
        assert choice["finish_reason"] == "stop"
    else:
        assert message["tool_calls"][0]["function"]["name"] == "now"
        assert choice["finish_reason"] == "tool_calls"
