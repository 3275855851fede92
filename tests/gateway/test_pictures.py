"""Images for models that cannot see them and for models that can: none ends a session."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from fakes.backend import FakeBackend
from fakes.chat_server import CHAT, chat_server, completion, texts
from gateway.harness import ids, served, server, user

from enginix.backends.openai.server import OpenAIBackend
from enginix.gateway.models.registry import PassthroughModel

RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"
URL = "data:image/png;base64,iVBORw0KGgo="
NOTE = "[image: this model reads text only]"
SOURCE = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
BLOCK = {"type": "image", "source": SOURCE}
INPUT = {"type": "input_image", "image_url": URL}
PART = {"type": "image_url", "image_url": {"url": URL}}
CALL = {"id": "c1", "type": "function", "function": {"name": "shoot", "arguments": "{}"}}


def in_a_result(path: str, *, again: bool = True) -> dict[str, Any]:
    """A tool's result with text and two images, and a user message after it."""
    last = user("Go on.") if again else []
    if path == CHAT:
        content = [{"type": "text", "text": "shot"}, PART, PART]
        called = {"role": "assistant", "content": None, "tool_calls": [CALL]}
        result = {"role": "tool", "tool_call_id": "c1", "content": content}
        return {"messages": [*user("Hi"), called, result, *last]}
    if path == RESPONSES:
        output = [{"type": "input_text", "text": "shot"}, INPUT, INPUT]
        items = [
            {"type": "function_call", "call_id": "c1", "name": "shoot", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": output},
        ]
        return {"input": [*user("Hi"), *items, *last]}
    content = [{"type": "text", "text": "shot"}, BLOCK, BLOCK]
    use = {"type": "tool_use", "id": "c1", "name": "shoot", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "c1", "content": content}
    said = [result, *([{"type": "text", "text": "Go on."}] if again else [])]
    turns = [{"role": "assistant", "content": [use]}, {"role": "user", "content": said}]
    return {"messages": [*user("Hi"), *turns], "max_tokens": 50}


def said_before(path: str) -> dict[str, Any]:
    """An image in an earlier user message, which was refused then."""
    part = {CHAT: PART, RESPONSES: INPUT, MESSAGES: BLOCK}[path]
    kind = "input_text" if path == RESPONSES else "text"
    shown = {"role": "user", "content": [{"type": kind, "text": "See?"}, part]}
    messages = [shown, *user("Without it, then.")]
    return {"input" if path == RESPONSES else "messages": messages, "max_tokens": 50}


everywhere = pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES])


async def prompt_of(path: str, body: dict[str, Any]) -> str:
    backend = FakeBackend(ids("Yes."))
    async with server(served(backend)) as client:
        answer = await client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return served(backend).tokenizer.decode(backend.asked[0].prompt_ids)


@everywhere
@pytest.mark.parametrize("body", [in_a_result, said_before])
async def test_a_model_that_cannot_see_gets_one_note_and_continues(
    path: str, body: Callable[[str], dict[str, Any]]
) -> None:
    prompt = await prompt_of(path, body(path))
    assert prompt.count(NOTE) == 1


@everywhere
async def test_a_tools_image_is_accepted_even_in_the_last_message(path: str) -> None:
    assert NOTE in await prompt_of(path, in_a_result(path, again=False))


async def test_an_image_to_be_answered_is_refused_under_the_name_codex_removes() -> None:
    said = [{"role": "user", "content": [{"type": "input_text", "text": "See?"}, INPUT]}]
    async with server(served(FakeBackend(ids("Yes.")))) as client:
        error = (await client.post(RESPONSES, json={"input": said})).json()["error"]
    assert (error["param"], error["code"]) == ("input[0].content[1].image_url", "invalid_value")


def seeing(url: str) -> PassthroughModel:
    return PassthroughModel("ours", OpenAIBackend("it", url, "theirs"), "vllm")


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("path", [RESPONSES, MESSAGES])
async def test_a_tools_images_reach_a_model_that_sees(path: str, again: bool) -> None:
    async with (
        chat_server(completion(*texts("Yes."))) as (stand_in, url),
        server(seeing(url)) as client,
    ):
        answer = await client.post(path, json={"model": "ours", **in_a_result(path, again=again)})
    assert answer.status_code == 200, answer.text
    (asked,) = stand_in.asked_at(CHAT)
    *_, result, shown = asked["messages"]
    assert (result["role"], result["content"]) == ("tool", "shot")
    # Chat completions have images in a user's message only.
    assert shown["role"] == "user"
    assert [part for part in shown["content"] if part["type"] == "image_url"] == [PART, PART]
    assert again == ("Go on." in json.dumps(shown))


@pytest.mark.parametrize("body", [in_a_result, said_before])
@pytest.mark.parametrize("path", [RESPONSES, MESSAGES])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_server_whose_model_cannot_see_gets_a_second_request_with_a_note(
    path: str, body: Callable[[str], dict[str, Any]], stream: bool
) -> None:
    refused = json.dumps({"error": {"message": "theirs is not a multimodal model"}}).encode()
    async with chat_server() as (stand_in, url), server(seeing(url)) as client:
        route = lambda asked: refused if "image_url" in str(asked) else completion(*texts("Yes."))  # noqa: E731
        stand_in.routes[CHAT] = route
        stand_in.status = 400
        asked = {"model": "ours", "stream": stream, **body(path)}
        answers = [await client.post(path, json=asked) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    first, second, third = stand_in.asked_at(CHAT)
    assert "image_url" in str(first)
    assert str(second).count(NOTE) == str(third).count(NOTE) == 1


async def test_an_image_to_be_answered_is_refused_with_the_servers_message() -> None:
    refused = json.dumps({"error": {"message": "theirs is not a multimodal model"}}).encode()
    async with chat_server() as (stand_in, url), server(seeing(url)) as client:
        stand_in.routes[CHAT] = lambda _: refused
        stand_in.status = 400
        said = [{"role": "user", "content": [BLOCK]}]
        asked = {"model": "ours", "messages": said, "max_tokens": 5}
        answers = [await client.post(MESSAGES, json=asked) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [400, 400]
    assert all("not a multimodal model" in answer.text for answer in answers)


@pytest.mark.parametrize("path", [RESPONSES, MESSAGES])
async def test_a_picture_that_is_kept_elsewhere_ends_no_session(path: str) -> None:
    body = said_before(path)
    kept = {"type": "input_image", "file_id": "f1"}
    if path == MESSAGES:
        kept = {"type": "image", "source": {"type": "file", "file_id": "f1"}}
    said = body["messages" if path == MESSAGES else "input"]
    said[0]["content"][1] = kept
    async with (
        chat_server(completion(*texts("Yes."))) as (stand_in, url),
        server(seeing(url)) as client,
    ):
        later = await client.post(path, json={"model": "ours", **body})
        said.pop()
        now = await client.post(path, json={"model": "ours", **body})
    assert (later.status_code, now.status_code) == (200, 400)
    assert NOTE in str(stand_in.asked_at(CHAT)[0])
