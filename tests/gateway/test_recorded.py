"""Recorded answers of real servers reach every kind of client complete, however they are split.

The recordings were asked for the capital of France, for the weather in Paris with a tool to find it
out, and to go on from "One, two,".
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from fakes.recorded_server import recording, replaying, segments
from gateway.harness import server, user
from httpx import AsyncClient, Response

from enginix.backends.openai.server import OpenAIBackend
from enginix.gateway.models.registry import PassthroughModel

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
SERVERS = ("vllm", "llama", "trtllm")
# As it was sent; byte by byte; three random ways.
CUTS = (None, 0, 1, 2, 3)
CITY = {"type": "object", "properties": {"city": {"type": "string"}}}


@dataclass
class Content:
    """A client's result after the complete stream."""

    reasoning: str = ""
    answer: str = ""
    call: str = ""
    arguments: str = ""
    reason: str | None = None
    tokens: int | None = None


@asynccontextmanager
async def gateway(name: str, seed: int | None, path: str = CHAT) -> AsyncIterator[AsyncClient]:
    """A gateway before a server that answers this recording."""
    pieces = segments(recording(name), seed)
    async with replaying(path, pieces) as url:
        model = PassthroughModel("ours", OpenAIBackend("recorded", url, "demo"), "vllm")
        async with server(model) as client:
            yield client


def events(text: str) -> list[dict[str, Any]]:
    lines = (line[5:].strip() for line in text.splitlines() if line.startswith("data:"))
    return [json.loads(line) for line in lines if line != "[DONE]"]


def of_chat(chunks: Iterable[dict[str, Any]]) -> Content:
    content = Content()
    for chunk in chunks:
        content.tokens = (chunk.get("usage") or {}).get("completion_tokens", content.tokens)
        for choice in chunk["choices"]:
            delta = choice["delta"]
            content.reasoning += delta.get("reasoning_content") or delta.get("reasoning") or ""
            content.answer += delta.get("content") or ""
            for call in delta.get("tool_calls") or []:
                content.call += call["function"].get("name") or ""
                content.arguments += call["function"].get("arguments") or ""
            content.reason = choice.get("finish_reason") or content.reason
    return content


def recorded(name: str) -> Content:
    return of_chat(events(recording(name).body.decode()))


def names_it_ours(answer: Response) -> bool:
    return {event["model"] for event in events(answer.text)} == {"ours"}


@pytest.mark.parametrize("seed", CUTS)
@pytest.mark.parametrize("what", ["chat-reasoning", "chat-tools"])
@pytest.mark.parametrize("name", SERVERS)
async def test_a_chat_stream_has_the_recorded_content_however_it_was_cut(
    name: str, what: str, seed: int | None
) -> None:
    async with gateway(f"{name}-{what}", seed) as client:
        body = {"model": "ours", "messages": user("Hi"), "stream": True}
        answer = await client.post(CHAT, json=body)
    assert of_chat(events(answer.text)) == recorded(f"{name}-{what}")
    assert names_it_ours(answer)
    assert answer.text.count("data: [DONE]") == 1


def test_the_recordings_contain_what_was_requested() -> None:
    for name in SERVERS:
        assert recorded(f"{name}-chat-reasoning").answer.strip().endswith("Paris.")
        assert recorded(f"{name}-chat-reasoning").reasoning
        weather = recorded(f"{name}-chat-tools")
        assert (weather.call, weather.reason) == ("get_weather", "tool_calls")
        assert json.loads(weather.arguments) == {"city": "Paris"}


@pytest.mark.parametrize("seed", CUTS)
@pytest.mark.parametrize("name", SERVERS)
async def test_a_completion_stream_has_the_recorded_text(name: str, seed: int | None) -> None:
    what = f"{name}-completion-stream"
    async with gateway(what, seed, COMPLETIONS) as client:
        body = {"model": "ours", "prompt": "One, two,", "stream": True}
        answer = await client.post(COMPLETIONS, json=body)
    assert text_of(answer.text) == text_of(recording(what).body.decode())
    assert names_it_ours(answer)


def text_of(stream: str) -> str:
    return "".join(choice["text"] for event in events(stream) for choice in event["choices"])


@pytest.mark.parametrize("seed", CUTS)
@pytest.mark.parametrize("name", ["vllm", "llama"])
async def test_a_complete_answer_differs_only_in_the_models_name(
    name: str, seed: int | None
) -> None:
    async with gateway(f"{name}-chat-whole", seed) as client:
        answer = await client.post(CHAT, json={"model": "ours", "messages": user("Hi")})
    sent = json.loads(recording(f"{name}-chat-whole").body)
    assert answer.json() == {**sent, "model": "ours"}


@pytest.mark.parametrize("seed", CUTS)
@pytest.mark.parametrize("name", SERVERS)
async def test_a_refusal_keeps_its_message_in_our_envelope(name: str, seed: int | None) -> None:
    what = f"{name}-refused"
    async with gateway(what, seed) as client:
        body = {"model": "ours", "messages": user("Hi"), "stream": True}
        answer = await client.post(CHAT, json=body)
    sent = json.loads(recording(what).body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == sent.get("error", sent)["message"]


@pytest.mark.parametrize("seed", CUTS)
@pytest.mark.parametrize("name", SERVERS)
async def test_a_client_of_messages_gets_the_same_content(name: str, seed: int | None) -> None:
    tools = [{"name": "get_weather", "input_schema": CITY}]
    asked = {"model": "ours", "messages": user("Hi"), "max_tokens": 99, "tools": tools}
    async with gateway(f"{name}-chat-tools", seed) as client:
        answer = await client.post("/v1/messages", json={**asked, "stream": True})
    content = Content()
    for event in events(answer.text):
        if event["type"] == "content_block_start":
            content.call += event["content_block"].get("name", "")
        elif event["type"] == "content_block_delta":
            content.reasoning += event["delta"].get("thinking", "")
            content.answer += event["delta"].get("text", "")
            content.arguments += event["delta"].get("partial_json", "")
        elif event["type"] == "message_delta":
            content.reason = event["delta"]["stop_reason"]
    assert_alike(content, recorded(f"{name}-chat-tools"), "tool_use")


@pytest.mark.parametrize("seed", CUTS)
@pytest.mark.parametrize("name", SERVERS)
async def test_a_client_of_responses_gets_the_same_content(name: str, seed: int | None) -> None:
    tools = [{"type": "function", "name": "get_weather", "parameters": CITY}]
    asked = {"model": "ours", "input": "Hi", "tools": tools, "stream": True}
    async with gateway(f"{name}-chat-tools", seed) as client:
        answer = await client.post("/v1/responses", json=asked)
    content = Content()
    for event in events(answer.text):
        match event["type"]:
            case "response.output_text.delta":
                content.answer += event["delta"]
            case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta":
                content.reasoning += event["delta"]
            case "response.function_call_arguments.delta":
                content.arguments += event["delta"]
            case "response.output_item.added":
                content.call += event["item"].get("name", "")
            case "response.completed":
                content.reason = "tool_use"
    assert_alike(content, recorded(f"{name}-chat-tools"), "tool_use")


def assert_alike(content: Content, sent: Content, reason: str) -> None:
    """Ignore white space around a text of only white space."""
    assert content.answer.strip() == sent.answer.strip()
    assert content.reasoning.strip() == sent.reasoning.strip()
    assert (content.call, content.arguments) == (sent.call, sent.arguments)
    assert content.reason == reason
