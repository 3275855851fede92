"""Valid requests with parts removed, replaced or added: never a 500, always an end."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fakes.backend import FakeBackend
from gateway.harness import application, ids, served

REPLY = (
    "<think>\nHm.\n</think>\n\nLet me see: 你好 "
    '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
)
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
FUNCTION = {"name": "f", "description": "d", "parameters": SCHEMA}
TOOL = {"type": "function", "function": FUNCTION}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
SAMPLING: dict[str, Any] = {"temperature": 1, "top_p": 1, "seed": 1}

GOOD: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": "demo",
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "x"}]},
            {"role": "assistant", "content": None, "reasoning_content": "r", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c", "content": "10"},
        ],
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
        "chat_template_kwargs": {"enable_thinking": True},
        "logit_bias": {"5": 1},
        "stop": ["zz"],
        "n": 1,
        "max_tokens": 20,
        "logprobs": True,
        "stream": True,
        "stream_options": {"include_usage": True},
        **SAMPLING,
    },
    "/v1/completions": {"prompt": ["a", [5]], "max_tokens": 5, "echo": True, **SAMPLING},
    "/v1/responses": {
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "x"}]},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "t"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "o"},
        ],
        "instructions": "i",
        "tools": [{"type": "function", **FUNCTION}],
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []},
        "text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}},
        "reasoning": {"effort": "low"},
        "metadata": {"a": "b"},
        "max_output_tokens": 20,
        "stream": True,
    },
    "/v1/messages": {
        "messages": [
            {"role": "user", "content": "x"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "t", "signature": ""},
                    {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]},
        ],
        "system": [{"type": "text", "text": "s"}],
        "tools": [{"name": "f", "input_schema": SCHEMA}],
        "tool_choice": {"type": "tool", "name": "f"},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "max_tokens": 20,
        "stop_sequences": ["q"],
        "stream": True,
    },
    "/v1/messages/count_tokens": {"messages": [{"role": "user", "content": "x"}], "tools": []},
    "/tokenize": {"prompt": "x", "return_token_strs": True},
    "/detokenize": {"tokens": [1, 2]},
    "/api/v1/inference/stream": {"modelId": "demo", "prompt": "x", "topK": 5, "stop": "y"},
}

ODD: tuple[Any, ...] = (
    None, True, 0, -1, 3.5, 1e300, -1e300, 2**63, 2**64, "", "x", "\0", "😀", "\\ud800",
    '{"a": "\\ud800"}', "y" * 5000, [], {}, [[]], [{}], [None], [1], [""], {"a": None}, "auto",
    "required", {"type": "tool"}, {"type": "function"}, {"type": "allowed_tools"},
    {"type": "text"}, [{"type": "text"}], {"$ref": "#"}, [{"role": "assistant", "content": "x"}],
)  # fmt: skip


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in `value` with each of its keys."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


def changed(body: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    body = copy.deepcopy(body)
    for _ in range(chance.choice((1, 1, 2, 3))):
        parent, key = chance.choice(list(places(body)) or [(body, "x")])
        if chance.random() < 0.2:
            parent.pop(key, None) if isinstance(parent, dict) else parent.pop(key)
        else:
            parent[key] = copy.deepcopy(chance.choice(ODD))
    return body


@pytest.mark.parametrize("path", GOOD)
async def test_no_changed_request_is_answered_with_a_500(path: str) -> None:
    chance = random.Random(path)
    async with application(served(FakeBackend(ids(REPLY)), context=2048)) as app:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            for _ in range(150):
                content = json.dumps(changed(GOOD[path], chance))
                response = await client.post(path, content=content)
                assert response.status_code < 500, content
                assert "server_error" not in response.text, content
                assert "api_error" not in response.text, content
