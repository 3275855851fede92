"""JSON nested as deep as its parser lets through, at every place of every dialect that takes any.

What is read may have to be written again: for the template, for another server, in a response. A
writer that meets something too deep raises, and some releases of orjson end the process.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import pytest
from fakes.backend import FakeBackend
from fakes.chat_server import chat_server, completion, texts
from gateway.harness import ids, served, server
from gateway.test_translation import relayed

from enginix.gateway.http.nesting import DEEPEST, MOST_PARTS

# Path -> bodies of it, with DEEP where any JSON fits.
TOOL = '{"type": "function", "function": {"name": "f", "parameters": {"a": DEEP}}}'
CALL = '{"type": "function", "id": "1", "function": {"name": "f", "arguments": TEXT}}'
USER = '{"role": "user", "content": "Hi"}'
BODIES = {
    "/v1/chat/completions": [
        f'{{"messages": [{USER}], "tools": [{TOOL}]}}',
        f'{{"messages": [{USER}], "metadata": {{"a": DEEP}}}}',
        f'{{"messages": [{USER}], "unknown": DEEP}}',
        f'{{"messages": [{USER}], "chat_template_kwargs": {{"a": DEEP}}}}',
        f'{{"messages": [{USER}], "guided_json": {{"a": DEEP}}}}',
        '{"messages": [{"role": "user", "content": DEEP}]}',
        '{"messages": DEEP}',
        "DEEP",
    ],
    "/v1/completions": ['{"prompt": "Hi", "guided_json": {"a": DEEP}}', '{"prompt": DEEP}'],
    "/v1/responses": [
        '{"input": "Hi", "tools": [{"type": "function", "name": "f", "parameters": {"a": DEEP}}]}',
        '{"input": "Hi", "metadata": {"a": DEEP}}',
        '{"input": DEEP}',
    ],
    "/v1/messages": [
        f'{{"messages": [{USER}], "max_tokens": 5, "tools": [{{"name": "f", "input_schema": '
        '{"a": DEEP}}]}',
        f'{{"messages": [{USER}, {{"role": "assistant", "content": [{{"type": "tool_use", '
        '"id": "1", "name": "f", "input": {"a": DEEP}}]}], "max_tokens": 5}',
        '{"max_tokens": 5, "messages": DEEP}',
    ],
    "/v1/messages/count_tokens": [
        f'{{"messages": [{USER}], "tools": [{{"name": "f", "input_schema": {{"a": DEEP}}}}]}}'
    ],
    "/tokenize": [f'{{"messages": [{USER}], "tools": [{TOOL}]}}'],
    "/detokenize": ['{"tokens": DEEP}'],
    "/api/v1/inference/stream": ['{"modelId": "demo", "prompt": DEEP}'],
    "/v1/models/load": ['{"model": DEEP}'],
    "/v1/models/unload": ['{"model": DEEP}'],
    "/v1/models/restart": ['{"model": DEEP}'],
}
# JSON as text inside of JSON: no limit of the body's own holds for it.
TEXTS = {
    "/v1/chat/completions": [
        f'{{"messages": [{USER}, {{"role": "assistant", "tool_calls": [{CALL}]}}, {USER}]}}',
        f'{{"messages": [{USER}], "guided_json": TEXT}}',
        f'{{"messages": [{USER}], "response_format": {{"type": "json_object", "schema": TEXT}}}}',
    ],
    "/v1/completions": ['{"prompt": "Hi", "guided_json": TEXT}'],
    "/v1/responses": [
        '{"input": [{"role": "user", "content": "Hi"}, {"type": "function_call", "call_id": "1", '
        '"name": "f", "arguments": TEXT}, {"type": "function_call_output", "call_id": "1", '
        '"output": TEXT}]}',
    ],
    "/v1/messages": [
        f'{{"messages": [{USER}, {{"role": "assistant", "content": [{{"type": "tool_use", '
        '"id": "1", "name": "f", "input": {"a": TEXT}}]}], "max_tokens": 5}',
    ],
    "/tokenize": [f'{{"messages": [{USER}, {{"role": "assistant", "tool_calls": [{CALL}]}}]}}'],
}
NESTS = {"lists": ("[", "]"), "objects": ('{"a":', "}")}


def nest(kind: str, levels: int) -> str:
    opening, closing = NESTS[kind]
    return opening * levels + "1" + closing * levels


@pytest.fixture(params=["ours", "another server's"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    """In front of a model of each kind."""
    if request.param == "ours":
        async with server(served(FakeBackend(ids("One two")), context=32768)) as client:
            yield client
    else:
        answers = completion(*texts("Hi"))
        async with chat_server(answers) as (_, url), server(relayed(url)) as client:
            yield client


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("kind", NESTS)
async def test_a_body_that_is_too_deep_is_refused_with_the_limit(
    client: httpx.AsyncClient, kind: str
) -> None:
    for path, bodies in BODIES.items():
        for body in bodies:
            for levels in (DEEPEST + 1, 1000, 5000):
                content = body.replace("DEEP", nest(kind, levels))
                answer = await client.post(path, content=content.encode(), headers=JSON)
                assert answer.status_code == 400, (path, body, levels, answer.text)
                assert f"{DEEPEST} levels deep" in answer.text, (path, body, levels, answer.text)


@pytest.mark.parametrize("part", ["{}", "[]", '{"a":[]}'])
async def test_a_body_of_too_many_parts_is_refused_with_the_limit(
    client: httpx.AsyncClient, part: str
) -> None:
    many = f"[{','.join([part] * MOST_PARTS)}]"
    for path, bodies in BODIES.items():
        answer = await client.post(path, content=bodies[0].replace("DEEP", many), headers=JSON)
        assert answer.status_code == 400, (path, answer.text)
        assert f"more than {MOST_PARTS} objects and lists" in answer.text, (path, answer.text)


async def test_a_prompt_of_very_many_token_ids_has_few_parts(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/completions", json={"prompt": [3] * (MOST_PARTS + 1)})
    assert "objects and lists" not in answer.text


@pytest.mark.parametrize("kind", NESTS)
async def test_a_body_within_the_limit_does_not_cause_a_500(
    client: httpx.AsyncClient, kind: str
) -> None:
    for path, bodies in BODIES.items():
        for body in bodies:
            content = body.replace("DEEP", nest(kind, DEEPEST - 10))
            answer = await client.post(path, content=content.encode())
            assert answer.status_code < 500, (path, body, answer.text)


@pytest.mark.parametrize("kind", NESTS)
async def test_deep_json_as_text_does_not_cause_a_500(client: httpx.AsyncClient, kind: str) -> None:
    for path, bodies in TEXTS.items():
        for body in bodies:
            for levels in (300, 900, 5000):
                content = body.replace("TEXT", json.dumps(nest(kind, levels)))
                answer = await client.post(path, content=content.encode())
                assert answer.status_code < 500, (path, body, levels, answer.text)
