from __future__ import annotations

import json
from typing import Any

import pytest
from fakes.backend import FakeBackend
from gateway.harness import ids, served, server

from enginix.errors import BackendUnavailable
from enginix.gateway.api.messages_reply import arguments_of

PATH = "/v1/messages"
THOUGHT = "<think>\nI know that.\n</think>\n\nParis."
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
WEATHER = {
    "name": "get_weather",
    "description": "Weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}


def body(**more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Hi"}]
    return {"model": "demo", "max_tokens": 200, "messages": messages, **more}


async def ask(backend: FakeBackend, **more: Any) -> dict[str, Any]:
    async with server(served(backend)) as client:
        response = await client.post(PATH, json=body(**more))
        assert response.status_code == 200, response.text
        message: dict[str, Any] = response.json()
        return message


async def stream(backend: FakeBackend, **more: Any) -> list[tuple[str, Any]]:
    async with server(served(backend)) as client:
        response = await client.post(PATH, json=body(stream=True, **more))
    found = []
    for block in response.text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    assert all(name == data["type"] for name, data in found)
    return found


def prompt_of(backend: FakeBackend) -> str:
    return served(backend).tokenizer.decode(backend.asked[0].prompt_ids, keep=("<think>",))


async def test_reasoning_and_answer_are_blocks() -> None:
    message = await ask(FakeBackend(ids(THOUGHT)), thinking={"type": "adaptive"})
    assert [block["type"] for block in message["content"]] == ["thinking", "text"]
    assert message["content"][1]["text"] == "Paris."
    assert message["stop_reason"] == "end_turn"
    assert message["usage"]["output_tokens"] == len(ids(THOUGHT))


@pytest.mark.parametrize("streamed", [False, True])
async def test_every_thinking_block_has_a_signature_of_its_own(streamed: bool) -> None:
    backend, thinking = FakeBackend(ids(THOUGHT)), {"type": "adaptive"}
    signatures = []
    for _ in range(2):
        if streamed:
            events = [data for _, data in await stream(backend, thinking=thinking)]
            deltas = [data["delta"] for data in events if data["type"] == "content_block_delta"]
            signatures += [each["signature"] for each in deltas if "signature" in each]
        else:
            (block, _) = (await ask(backend, thinking=thinking))["content"]
            signatures.append(block["signature"])
    assert len({*signatures}) == 2
    assert all(signatures)


async def test_a_call_is_a_block_with_its_input() -> None:
    message = await ask(FakeBackend(ids(CALL)), tools=[WEATHER])
    (block,) = message["content"]
    assert (block["type"], block["name"], block["input"]) == (
        "tool_use",
        "get_weather",
        {"city": "Paris"},
    )
    assert message["stop_reason"] == "tool_use"


@pytest.mark.parametrize("text", ['{"a": ' * 300 + "1" + "}" * 300, '{"a": "\\ud800"}'])
def test_arguments_that_cannot_be_written_stay_visible_as_text(text: str) -> None:
    assert arguments_of(text) == {"": text}


async def test_a_stop_sequence_is_named() -> None:
    message = await ask(FakeBackend(ids("One two three")), stop_sequences=["two"])
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "two")
    assert message["content"][0]["text"] == "One "


async def test_max_tokens_is_its_own_reason() -> None:
    message = await ask(FakeBackend(ids("One two three")), max_tokens=2)
    assert message["stop_reason"] == "max_tokens"


async def test_a_stream_opens_and_closes_its_blocks_in_order() -> None:
    found = await stream(FakeBackend(ids(THOUGHT)))
    names = [name for name, _ in found if name not in ("ping", "content_block_delta")]
    assert names == [
        "message_start",
        "content_block_start",
        "content_block_stop",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    text = "".join(
        data["delta"].get("text", "") for name, data in found if name.endswith("block_delta")
    )
    assert text == "Paris."
    assert found[-2][1]["delta"]["stop_reason"] == "end_turn"
    assert found[-2][1]["usage"]["output_tokens"] == len(ids(THOUGHT))


async def test_a_streamed_calls_chunks_join_to_its_input() -> None:
    found = await stream(FakeBackend(ids(CALL)), tools=[WEATHER])
    starts = [data for name, data in found if name == "content_block_start"]
    pieces = [
        data["delta"]["partial_json"] for name, data in found if name == "content_block_delta"
    ]
    assert starts[0]["content_block"]["name"] == "get_weather"
    assert json.loads("".join(pieces)) == {"city": "Paris"}


async def test_an_error_in_mid_stream_is_anthropics_error_event() -> None:
    backend = FakeBackend(ids("One two"), fails_at=1, error=BackendUnavailable("gone"))
    name, data = (await stream(backend))[-1]
    assert (name, data["error"]["type"]) == ("error", "overloaded_error")


async def test_thinking_is_off_by_default() -> None:
    off, on = FakeBackend(ids("Hi")), FakeBackend(ids("Hi"))
    await ask(off)
    await ask(on, thinking={"type": "enabled", "budget_tokens": 1024})
    assert "<think>" in prompt_of(off)
    assert "<think>" not in prompt_of(on)


async def test_blocks_become_messages_that_templates_read() -> None:
    backend = FakeBackend(ids("Mild."))
    await ask(
        backend,
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        tools=[WEATHER, {"type": "web_search_20250305", "name": "web_search"}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": ""},
                    {"type": "tool_use", "name": "get_weather", "input": {"city": "Rome"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "content": [{"type": "text", "text": "10 C"}]},
                    {"type": "text", "text": "And so?"},
                ],
            },
        ],
    )
    prompt = prompt_of(backend)
    assert "Be brief." in prompt
    assert "web_search" not in prompt
    assert prompt.index('"city": "Rome"') < prompt.index("10 C") < prompt.index("And so?")


async def test_any_tool_means_that_one_must_be_called() -> None:
    backend = FakeBackend(ids('{"name": "get_weather", "arguments": {"city": "Rome"}}'), ids(""))
    message = await ask(backend, tools=[WEATHER], tool_choice={"type": "any"})
    assert message["content"][0]["input"] == {"city": "Rome"}


async def test_a_prefilled_assistant_message_is_continued() -> None:
    backend = FakeBackend(ids(" 5, I think."))
    said = [{"role": "user", "content": "2+3?"}, {"role": "assistant", "content": "2 + 3 ="}]
    message = await ask(backend, messages=said)
    assert prompt_of(backend).endswith("<think>\n\n</think>\n\n2 + 3 =")
    assert message["content"] == [{"type": "text", "text": " 5, I think."}]


async def test_a_call_at_the_end_is_not_continued() -> None:
    backend = FakeBackend(ids("Hm."))
    call = {"type": "tool_use", "id": "t1", "name": "get_weather", "input": {}}
    said = [{"role": "user", "content": "?"}, {"role": "assistant", "content": [call]}]
    assert (await ask(backend, messages=said))["content"][0]["text"] == "Hm."


async def test_tokens_are_counted_as_the_model_reads_them() -> None:
    backend = FakeBackend(ids("Hi"))
    async with server(served(backend)) as client:
        counted = await client.post(f"{PATH}/count_tokens", json=body(tools=[WEATHER]))
        await client.post(PATH, json=body(tools=[WEATHER]))
    assert counted.json() == {"input_tokens": len(backend.asked[0].prompt_ids)}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"temperature": 1.5}, "temperature"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
            "messages[0].content[0]",
        ),
        ({"messages": [{"role": "user", "content": [5]}]}, "messages[0].content[0]"),
        ({"tool_choice": {"type": "any"}}, "tools"),
        ({"tool_choice": {"type": "tool"}, "tools": [WEATHER]}, "tool_choice.name is missing"),
        ({"stop_sequences": [""]}, "stop_sequences"),
        ({"stop_sequences": ["x"] * 65}, "stop_sequences: 65 strings"),
        ({"messages": [{"role": "user", "content": "word " * 600}]}, "512"),
    ],
)
async def test_an_error_has_anthropics_shape(more: dict[str, Any], words: str) -> None:
    async with server(served(FakeBackend(ids("Hi")))) as client:
        response = await client.post(PATH, json=body(**more))
    error = response.json()
    assert response.status_code == 400
    assert (error["type"], error["error"]["type"]) == ("error", "invalid_request_error")
    assert words in error["error"]["message"]


async def test_an_unknown_model_and_bad_json_have_anthropics_shape_too() -> None:
    async with server(served(FakeBackend(ids("Hi")))) as client:
        unknown = await client.post(PATH, json=body(model="claude"))
        garbage = await client.post(PATH, content=b"{")
    assert (unknown.status_code, unknown.json()["error"]["type"]) == (404, "not_found_error")
    assert garbage.json()["type"] == "error"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_without_tokens_is_an_empty_message_with_usage(stream: bool) -> None:
    backend = FakeBackend(ids("Hello"))
    async with server(served(backend)) as client:
        counted = (await client.post(f"{PATH}/count_tokens", json=body())).json()
        answer = await client.post(PATH, json=body(max_tokens=0, stream=stream))
    assert backend.asked == []
    if stream:
        assert '"stop_reason":"max_tokens"' in answer.text
        return
    message = answer.json()
    assert (message["content"], message["stop_reason"]) == ([], "max_tokens")
    assert message["usage"]["input_tokens"] == counted["input_tokens"]
