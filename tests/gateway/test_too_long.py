"""Agents shorten a conversation only after an error message that they recognise."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from fakes.backend import FakeBackend
from fakes.chat_server import CHAT, chat_server
from gateway.harness import events, ids, served, server, user

from enginix.backends.openai.server import OpenAIBackend
from enginix.gateway.models.registry import PassthroughModel

RESPONSES, MESSAGES, COMPLETIONS = "/v1/responses", "/v1/messages", "/v1/completions"
LONG = "word " * 600
LONGER = "word " * 30_000
OPENAI = re.compile(r"maximum context length is (\d+) tokens.*?(\d+) tokens; reduce the length of")
ANTHROPIC = re.compile(r"^prompt is too long: (\d+) tokens > (\d+) maximum$")


def body(path: str, text: str) -> dict[str, Any]:
    if path == RESPONSES:
        return {"input": text}
    if path == COMPLETIONS:
        return {"prompt": text}
    return {"messages": user(text), **({"max_tokens": 5} if path == MESSAGES else {})}


@pytest.mark.parametrize("text", [LONG, LONGER], ids=["counted", "not counted to its end"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", [CHAT, RESPONSES, COMPLETIONS, MESSAGES])
async def test_a_prompt_that_is_too_long_gets_the_message_that_agents_parse(
    path: str, stream: bool, text: str
) -> None:
    async with server(served(FakeBackend(ids("Hi")), context=512)) as client:
        answer = await client.post(path, json={**body(path, text), "stream": stream})
    if path == RESPONSES and stream:
        *_, last = events(answer.text)
        assert (answer.status_code, last["type"]) == (200, "response.failed")
        error = last["response"]["error"]
    else:
        assert answer.status_code == 400
        error = answer.json()["error"]
    if path == MESSAGES:
        found = ANTHROPIC.match(error["message"])
        assert found
        assert int(found[1]) > int(found[2]) == 512
        return
    assert error["code"] == "context_length_exceeded"
    found = OPENAI.search(error["message"])
    assert found
    assert int(found[2]) > int(found[1]) == 512


async def test_the_text_of_the_clients_exception_has_the_code() -> None:
    openai = pytest.importorskip("openai", reason="not packaged everywhere")
    async with server(served(FakeBackend(ids("Hi")), context=512)) as http:
        client = openai.AsyncOpenAI(base_url=f"{http.base_url}/v1", api_key="x", max_retries=0)
        with pytest.raises(openai.BadRequestError, match="context_length_exceeded"):
            await client.chat.completions.create(model="demo", messages=user(LONG))
        await client.close()


REFUSALS = [
    (
        400,
        {
            "error": {
                "message": "This model's maximum context length is 512 tokens. However, your "
                "request has 600 input tokens. Please reduce the length of the input messages.",
                "type": "BadRequestError",
                "code": 400,
            }
        },
    ),
    (
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 512 tokens. However, you requested "
            "650 tokens (600 in the messages, 50 in the completion). Please reduce the length.",
        },
    ),
    (
        400,
        {
            "error": {
                "code": 400,
                "message": "the request exceeds the available context size, try increasing it",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 600,
                "n_ctx": 512,
            }
        },
    ),
    (400, {"error": {"message": "length of prompt_tokens (600) must be less than max (512)."}}),
    (
        400,
        {
            "message": "The sum of prompt length (600.0), query length (0) should not exceed "
            "max_num_tokens (512)"
        },
    ),
    (
        400,
        {
            "message": "The input (600 tokens) is longer than the model's context length (512 "
            "tokens)."
        },
    ),
]


@pytest.mark.parametrize("refused", REFUSALS, ids=["vllm", "old vllm", "llama", "a", "b", "sglang"])
@pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES])
@pytest.mark.parametrize("speaks", [False, True], ids=["asked as chats", "passed on"])
async def test_another_servers_message_becomes_the_one_that_agents_parse(
    path: str, refused: tuple[int, dict[str, Any]], speaks: bool
) -> None:
    status, said = refused
    async with chat_server() as (stand_in, url):
        stand_in.status = status
        stand_in.routes[CHAT] = lambda _: json.dumps(said).encode()
        if speaks:
            stand_in.routes[path] = lambda _: json.dumps(said).encode()
        async with server(
            PassthroughModel("ours", OpenAIBackend("it", url, "x"), "vllm")
        ) as client:
            answer = await client.post(path, json={"model": "ours", **body(path, "Hi")})
    assert answer.status_code == 400
    error = answer.json()["error"]
    if path == MESSAGES:
        assert error["message"] == "prompt is too long: 600 tokens > 512 maximum"
    else:
        assert error["code"] == "context_length_exceeded"
        assert OPENAI.search(error["message"])


@pytest.mark.parametrize("speaks", [False, True], ids=["asked as chats", "passed on"])
async def test_a_stream_of_responses_says_it_where_codex_looks(speaks: bool) -> None:
    async with chat_server() as (stand_in, url):
        stand_in.status = 400
        refused = json.dumps(REFUSALS[0][1]).encode()
        stand_in.routes[CHAT] = lambda _: refused
        if speaks:
            stand_in.routes[RESPONSES] = lambda _: refused
        async with server(
            PassthroughModel("ours", OpenAIBackend("it", url, "x"), "vllm")
        ) as client:
            asked = {"model": "ours", "input": "Hi", "stream": True}
            answer = await client.post(RESPONSES, json=asked)
    assert answer.status_code == 200
    seen = events(answer.text)
    assert [event["type"] for event in seen][-1] == "response.failed"
    assert [event["sequence_number"] for event in seen] == list(range(len(seen)))
    assert seen[-1]["response"]["error"]["code"] == "context_length_exceeded"


async def test_a_max_tokens_beyond_the_context_is_not_a_long_prompt() -> None:
    words = (
        "'max_tokens' or 'max_completion_tokens' is too large: 4096. This model's maximum context "
        "length is 512 tokens and your request has 30 input tokens (4096 > 512 - 30)."
    )
    async with chat_server() as (stand_in, url):
        stand_in.status = 400
        stand_in.routes[CHAT] = lambda _: json.dumps({"error": {"message": words}}).encode()
        async with server(
            PassthroughModel("ours", OpenAIBackend("it", url, "x"), "vllm")
        ) as client:
            asked = {"model": "ours", **body(MESSAGES, "Hi")}
            answer = await client.post(MESSAGES, json=asked)
    assert len(stand_in.asked_at(CHAT)) == 2
    assert "prompt is too long" not in answer.text


async def test_a_full_queue_says_in_its_message_how_long_to_wait() -> None:
    async with chat_server() as (stand_in, url):
        stand_in.status = 429
        stand_in.routes[CHAT] = lambda _: b'{"error": {"message": "busy"}}'
        async with server(
            PassthroughModel("ours", OpenAIBackend("it", url, "x"), "vllm")
        ) as client:
            answer = await client.post(CHAT, json={"model": "ours", **body(CHAT, "Hi")})
    assert answer.status_code == 429
    assert re.search(r"try again in \d+s", answer.json()["error"]["message"])
    assert answer.headers["retry-after"]
