"""Servers have other dialects than chats, but ignore parts of them: those go as chats."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fakes.chat_server import CHAT, ChatServer, chat_server, completion, texts
from gateway.harness import server, user

from enginix.backends.openai.server import OpenAIBackend
from enginix.gateway.models.registry import PassthroughModel

RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
FORMAT = {"type": "json_schema", "schema": SCHEMA}
TOOL = {"name": "look", "input_schema": SCHEMA}


def speaking(
    events: list[bytes], url: str, stand_in: ChatServer, engine: str = "vllm"
) -> PassthroughModel:
    """A model of a server that has all three dialects."""
    stand_in.routes[RESPONSES] = stand_in.routes[MESSAGES] = lambda _: b"{}"
    stand_in.routes[CHAT] = lambda _: events
    return PassthroughModel("ours", OpenAIBackend("stand-in", url, "theirs"), engine)


async def asked(
    path: str, body: dict[str, Any], engine: str = "vllm"
) -> tuple[str, dict[str, Any]]:
    """What the server is sent for this request."""
    async with chat_server() as (stand_in, url):
        model = speaking(completion(*texts('{"a": 1}')), url, stand_in, engine)
        async with server(model) as client:
            answer = await client.post(path, json={"model": "ours", **body})
            assert answer.status_code == 200, answer.text
    (found,) = stand_in.asked
    return found


async def asked_for_a_message(**more: Any) -> tuple[str, dict[str, Any]]:
    return await asked(MESSAGES, {"max_tokens": 9, "messages": user("Hi"), **more})


@pytest.mark.parametrize(
    "more", [{"output_config": {"format": FORMAT}}, {"output_format": FORMAT}], ids=["new", "old"]
)
async def test_a_messages_schema_is_enforced_by_the_server(more: dict[str, Any]) -> None:
    path, body = await asked_for_a_message(**more)
    assert path == CHAT
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA


@pytest.mark.parametrize("choice", [{"type": "none"}, "none"])
async def test_a_message_that_is_to_call_nothing_has_no_tools(choice: Any) -> None:
    path, body = await asked_for_a_message(tools=[TOOL], tool_choice=choice)
    assert (path, "tools" in body) == (CHAT, False)


async def test_a_message_without_thinking_says_so_where_servers_look() -> None:
    path, body = await asked_for_a_message(thinking={"type": "disabled"})
    assert (path, body["chat_template_kwargs"]) == (CHAT, {"enable_thinking": False})


async def test_a_message_of_which_servers_read_all_is_passed_on() -> None:
    more = {"tools": [TOOL], "tool_choice": {"type": "any"}, "thinking": {"type": "adaptive"}}
    path, body = await asked_for_a_message(**more)
    assert (path, body["thinking"]) == (MESSAGES, {"type": "adaptive"})


@pytest.mark.parametrize("format", [{"name": "x", **FORMAT}, {"type": "json_object"}])
async def test_a_responses_format_is_enforced_by_the_server(format: dict[str, Any]) -> None:
    path, body = await asked(RESPONSES, {"input": "Hi", "text": {"format": format}})
    assert (path, body["response_format"]["type"]) == (CHAT, format["type"])


@pytest.mark.parametrize(("engine", "where"), [("vllm", RESPONSES), ("llamacpp", CHAT)])
async def test_a_response_of_plain_text_is_passed_on_except_to_llama_server(
    engine: str, where: str
) -> None:
    plain = {"format": {"type": "text"}, "verbosity": "low"}
    path, _ = await asked(RESPONSES, {"input": "Hi", "text": plain}, engine)
    assert path == where


async def test_a_response_that_was_translated_is_continued_with_its_conversation() -> None:
    async with chat_server() as (stand_in, url):
        model = speaking(completion(*texts('{"a": 1}')), url, stand_in)
        async with server(model) as client:
            first = {"model": "ours", "input": "One?", "text": {"format": {"type": "json_object"}}}
            answer = (await client.post(RESPONSES, json=first)).json()
            second = {"model": "ours", "input": "Two?", "previous_response_id": answer["id"]}
            await client.post(RESPONSES, json=second)
    path, body = stand_in.asked[-1]
    assert path == CHAT
    assert [text in json.dumps(body["messages"]) for text in ("One?", "Two?")] == [True, True]
