"""Spellings that clients use beyond a dialect's specification, and their meaning."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fakes.backend import FakeBackend
from fakes.chat_server import CHAT, chat_server, completion, texts
from gateway.harness import ids, served, server, user

from enginix.backends.openai.server import OpenAIBackend
from enginix.gateway.models.registry import PassthroughModel

RESPONSES, MESSAGES, COUNT = "/v1/responses", "/v1/messages", "/v1/messages/count_tokens"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
CHAT_TOOL = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
RESPONSES_TOOL = {"type": "function", "name": "weather", "parameters": SCHEMA}
MESSAGES_TOOL = {"name": "weather", "input_schema": SCHEMA}
BASE: dict[str, dict[str, Any]] = {
    CHAT: {"messages": user("Hi")},
    RESPONSES: {"input": "Hi"},
    MESSAGES: {"messages": user("Hi"), "max_tokens": 50},
}
FORCED = '{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
BILLING = "x-anthropic-billing-header: cc_version=2.1.0; cch=4f2e1;"


async def prompt_of(path: str, body: dict[str, Any], reply: str = "Yes.") -> tuple[str, str]:
    backend = FakeBackend(ids(reply), ids(""))
    async with server(served(backend)) as client:
        answer = await client.post(path, json={**BASE[path], **body})
    assert answer.status_code == 200, answer.text
    ids_asked = backend.asked[0].prompt_ids
    return served(backend).tokenizer.decode(ids_asked, keep=("<tool_call>",)), answer.text


async def passed_on(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The request that a server with every dialect receives."""
    async with chat_server(completion(*texts("Yes."))) as (stand_in, url):
        for route in (RESPONSES, MESSAGES):
            stand_in.routes[route] = lambda _: b"{}"
        backend = OpenAIBackend("stand-in", url, "theirs")
        async with server(PassthroughModel("ours", backend, "vllm")) as client:
            await client.post(path, json={"model": "ours", **BASE[path], **body})
    (asked,) = stand_in.asked_at(path)
    return asked


@pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES])
@pytest.mark.parametrize("choice", ["auto", {"type": "auto"}])
async def test_auto_means_auto_as_a_word_and_as_an_object(path: str, choice: Any) -> None:
    tool = {CHAT: CHAT_TOOL, RESPONSES: RESPONSES_TOOL, MESSAGES: MESSAGES_TOOL}[path]
    prompt, _ = await prompt_of(path, {"tools": [tool], "tool_choice": choice})
    assert '"weather"' in prompt


@pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES])
@pytest.mark.parametrize("choice", ["none", {"type": "none"}])
async def test_none_means_none_as_a_word_and_as_an_object(path: str, choice: Any) -> None:
    tool = {CHAT: CHAT_TOOL, RESPONSES: RESPONSES_TOOL, MESSAGES: MESSAGES_TOOL}[path]
    prompt, _ = await prompt_of(path, {"tools": [tool], "tool_choice": choice})
    assert "weather" not in prompt


@pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES])
@pytest.mark.parametrize(
    "choice",
    [
        "required",
        "any",
        {"type": "required"},
        {"type": "any"},
        {"type": "function", "name": "weather"},
        {"type": "function", "function": {"name": "weather"}},
        {"type": "tool", "name": "weather"},
    ],
    ids=str,
)
async def test_a_forced_call_works_in_every_spelling_of_tool_choice(path: str, choice: Any) -> None:
    tool = {CHAT: CHAT_TOOL, RESPONSES: RESPONSES_TOOL, MESSAGES: MESSAGES_TOOL}[path]
    prompt, text = await prompt_of(path, {"tools": [tool], "tool_choice": choice}, FORCED)
    # It is begun for the model.
    assert prompt.rstrip().endswith("<tool_call>")
    assert "Rome" in text


@pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES])
@pytest.mark.parametrize("tool", [CHAT_TOOL, RESPONSES_TOOL, MESSAGES_TOOL], ids=["a", "b", "c"])
async def test_a_tool_may_be_declared_in_another_dialects_spelling(
    path: str, tool: dict[str, Any]
) -> None:
    prompt, _ = await prompt_of(path, {"tools": [tool]})
    assert '"weather"' in prompt
    assert '"city"' in prompt


async def test_allowed_tools_may_be_beside_their_type_or_inside_it() -> None:
    other = {"type": "function", "function": {"name": "clock"}}
    named = [{"type": "function", "name": "weather"}]
    for path, tools, choice in (
        (CHAT, [CHAT_TOOL, other], {"mode": "auto", "tools": named}),
        (RESPONSES, [RESPONSES_TOOL, other], {"allowed_tools": {"mode": "auto", "tools": named}}),
    ):
        body = {"tools": tools, "tool_choice": {"type": "allowed_tools", **choice}}
        prompt, _ = await prompt_of(path, body)
        assert '"weather"' in prompt
        assert "clock" not in prompt


@pytest.mark.parametrize(
    ("path", "spelled"),
    [(CHAT, "required"), (RESPONSES, "required"), (MESSAGES, {"type": "any"})],
)
async def test_a_server_gets_its_dialects_own_spelling(path: str, spelled: Any) -> None:
    tool = {CHAT: CHAT_TOOL, RESPONSES: RESPONSES_TOOL, MESSAGES: MESSAGES_TOOL}[path]
    asked = await passed_on(path, {"tools": [tool], "tool_choice": {"type": "required"}})
    assert asked["tool_choice"] == spelled
    assert asked["tools"] == [tool]


SYSTEMS = [
    f"{BILLING}\nBe brief.",
    [{"type": "text", "text": BILLING}, {"type": "text", "text": "Be brief."}],
    [{"type": "text", "text": f"{BILLING}\nBe brief."}],
]


@pytest.mark.parametrize("system", SYSTEMS)
async def test_a_billing_line_is_removed_from_the_prompt_and_the_count(system: Any) -> None:
    plain = {**BASE[MESSAGES], "system": "Be brief."}
    backend = FakeBackend(ids("Yes."))
    async with server(served(backend)) as client:
        counts = []
        for body in (plain, {**plain, "system": system}):
            await client.post(MESSAGES, json=body)
            counts.append((await client.post(COUNT, json=body)).json()["input_tokens"])
    assert backend.asked[0].prompt_ids == backend.asked[1].prompt_ids
    assert counts[0] == counts[1] == len(backend.asked[0].prompt_ids)


@pytest.mark.parametrize("system", SYSTEMS)
async def test_a_billing_line_is_removed_from_a_system_message(system: Any) -> None:
    for path in (CHAT, MESSAGES):
        said = [{"role": "system", "content": system}, *user("Hi")]
        prompt, _ = await prompt_of(path, {"messages": said})
        assert "billing" not in prompt
        assert "Be brief." in prompt


async def test_a_system_prompt_of_only_billing_is_removed() -> None:
    with_line, _ = await prompt_of(MESSAGES, {"system": [{"type": "text", "text": BILLING}]})
    without, _ = await prompt_of(MESSAGES, {})
    assert with_line == without


async def test_a_user_message_about_billing_stays() -> None:
    prompt, _ = await prompt_of(MESSAGES, {"messages": user(BILLING)})
    assert BILLING in prompt


@pytest.mark.parametrize("system", SYSTEMS)
async def test_a_billing_line_is_not_passed_on(system: Any) -> None:
    asked = await passed_on(MESSAGES, {"system": system})
    assert "billing" not in json.dumps(asked)
    assert "Be brief." in json.dumps(asked)


async def test_a_messages_schema_may_have_its_earlier_name() -> None:
    backend = FakeBackend(ids('{"city": "Rome"}'))
    format = {"type": "json_schema", "schema": SCHEMA}
    async with server(served(backend)) as client:
        await client.post(MESSAGES, json={**BASE[MESSAGES], "output_format": format})
    guide = backend.asked[0].sampling.guide
    assert guide
    assert "city" in guide.text


async def test_all_thoughts_of_a_turn_are_kept_in_their_order() -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": "10 C"}
    turn = [
        {"type": "thinking", "thinking": "First thought.", "signature": ""},
        {"type": "tool_use", "id": "t", "name": "weather", "input": {}},
        {"type": "thinking", "thinking": "Second thought.", "signature": ""},
    ]
    said = [
        *user("Hi"),
        {"role": "assistant", "content": turn},
        {"role": "user", "content": [result]},
    ]
    prompt, _ = await prompt_of(MESSAGES, {"messages": said, "tools": [MESSAGES_TOOL]})
    assert 0 < prompt.index("First thought.") < prompt.index("Second thought.")
    thoughts = [
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": text}]}
        for text in ("First thought.", "Second thought.")
    ]
    call = {"type": "function_call", "call_id": "t", "name": "weather", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "t", "output": "10 C"}
    items = [*user("Hi"), thoughts[0], call, thoughts[1], output]
    prompt, _ = await prompt_of(RESPONSES, {"input": items, "tools": [RESPONSES_TOOL]})
    assert 0 < prompt.index("First thought.") < prompt.index("Second thought.")
