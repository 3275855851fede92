"""Stop strings end an answer, but do not apply to reasoning or calls."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.backend import FakeBackend
from fakes.chat_server import CHAT, chat_server, completion, texts
from gateway.harness import events, ids, served, server, user

from enginix.backends.openai.server import OpenAIBackend
from enginix.gateway.models.model import Model
from enginix.gateway.models.registry import PassthroughModel

MESSAGES = "/v1/messages"
SAID = "<think>\nI think. END\n</think>\n\nIt is five.\nEND of it."
CALL = '<tool_call>\n{"name": "run", "arguments": {"command": "echo END"}}\n</tool_call>'
RUN = {"type": "object", "properties": {"command": {"type": "string"}}}
CHAT_TOOL = {"type": "function", "function": {"name": "run", "parameters": RUN}}
MESSAGES_TOOL = {"name": "run", "input_schema": RUN}
SPOKEN = completion(
    {"reasoning_content": "I think. "},
    {"reasoning_content": "END"},
    *texts("It is ", "five.\n", "EN", "D of", " it."),
)
CALLED = completion(
    {
        "tool_calls": [
            {
                "index": 0,
                "id": "c1",
                "function": {"name": "run", "arguments": '{"command": "echo END"}'},
            }
        ]
    },
    reason="tool_calls",
)

BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"messages": user("Hi"), "stop": ["END"], "tools": [CHAT_TOOL]},
    MESSAGES: {
        "messages": user("Hi"),
        "max_tokens": 100,
        "stop_sequences": ["END"],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tools": [MESSAGES_TOOL],
    },
}


async def answer(path: str, said: str, *, theirs: bool, stream: bool) -> Any:
    """The complete answer, or its events."""

    async def asked(model: Model) -> Any:
        async with server(model) as client:
            body = {"model": model.name, **BODIES[path], "stream": stream}
            got = await client.post(path, json=body)
        assert got.status_code == 200, got.text
        return events(got.text) if stream else got.json()

    if not theirs:
        return await asked(served(FakeBackend(ids(said))))
    async with chat_server(CALLED if said == CALL else SPOKEN) as (_, url):
        return await asked(PassthroughModel("ours", OpenAIBackend("it", url, "theirs"), "vllm"))


theirs_too = pytest.mark.parametrize("theirs", [False, True], ids=["our model", "passed on"])


@theirs_too
async def test_a_chat_ends_at_the_stop_string_of_its_answer(theirs: bool) -> None:
    choice = (await answer(CHAT, SAID, theirs=theirs, stream=False))["choices"][0]
    assert "I think. END" in choice["message"]["reasoning_content"]
    assert choice["message"]["content"] == "It is five.\n"
    assert choice["finish_reason"] == "stop"
    seen = await answer(CHAT, SAID, theirs=theirs, stream=True)
    choices = [event["choices"][0] for event in seen if event != "[DONE]" and event["choices"]]
    assert "".join(each["delta"].get("content") or "" for each in choices) == "It is five.\n"
    assert choices[-1]["finish_reason"] == "stop"


@theirs_too
async def test_a_message_ends_at_the_stop_sequence_of_its_answer(theirs: bool) -> None:
    whole = await answer(MESSAGES, SAID, theirs=theirs, stream=False)
    thought, text = whole["content"]
    assert "END" in thought["thinking"]
    assert text["text"] == "It is five.\n"
    assert (whole["stop_reason"], whole["stop_sequence"]) == ("stop_sequence", "END")
    seen = await answer(MESSAGES, SAID, theirs=theirs, stream=True)
    assert "".join(event.get("delta", {}).get("text", "") for event in seen) == "It is five.\n"
    assert seen[-2]["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": "END"}


@theirs_too
@pytest.mark.parametrize("path", BODIES)
async def test_a_stop_string_in_arguments_leaves_the_call_complete(path: str, theirs: bool) -> None:
    whole = await answer(path, CALL, theirs=theirs, stream=False)
    assert "echo END" in str(whole)
    ends = [str(whole.get("stop_reason")), str(whole.get("choices", [{}])[0].get("finish_reason"))]
    assert {"tool_use", "tool_calls"} & {*ends}


async def test_a_completion_of_plain_text_ends_anywhere() -> None:
    async with server(served(FakeBackend(ids(SAID)))) as client:
        body = {"prompt": "Hi", "stop": "END"}
        choice = (await client.post("/v1/completions", json=body)).json()["choices"][0]
    assert choice["text"] == "<think>\nI think. "


async def test_a_server_that_keeps_the_stop_string_is_left_to_it() -> None:
    async with chat_server(SPOKEN) as (stand_in, url):
        model = PassthroughModel("ours", OpenAIBackend("it", url, "theirs"), "vllm")
        async with server(model) as client:
            wishes = {**BODIES[CHAT], "include_stop_str_in_output": True, "stream": True}
            await client.post(CHAT, json={"model": "ours", **wishes})
    (asked,) = stand_in.asked_at(CHAT)
    assert asked["stop"] == ["END"]


async def test_tokens_are_counted_of_an_answer_that_was_stopped_here() -> None:
    usage = b'"usage": {"prompt_tokens": 11, "completion_tokens": 6, "total_tokens": 17}, "choices"'
    counted = [event.replace(b'"choices"', usage, 1) for event in SPOKEN[:-2]]
    async with chat_server(counted) as (stand_in, url):
        model = PassthroughModel("ours", OpenAIBackend("it", url, "theirs"), "vllm")
        async with server(model) as client:
            got = (await client.post(MESSAGES, json={"model": "ours", **BODIES[MESSAGES]})).json()
    assert stand_in.asked_at(CHAT)[0]["stream_options"]["continuous_usage_stats"] is True
    assert (got["usage"]["input_tokens"], got["usage"]["output_tokens"]) == (11, 6)
