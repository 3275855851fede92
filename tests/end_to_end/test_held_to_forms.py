"""Forced and strict calls and guided answers, by the real Triton with a model of random weights.

The demo model has never seen these functions, and at a high temperature it writes noise: what
comes out right is the guides' doing.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jsonschema_rs
import pytest

from enginix.backends.triton import TritonBackend
from enginix.chat.reply import TOOLS
from enginix.manifest import Chat
from enginix.triton.client.client import TritonClient
from tests.conftest import RunningTriton
from tests.gateway.harness import events, served, server

pytestmark = pytest.mark.triton

FORMATS = sorted(TOOLS)
every_format = pytest.mark.parametrize("format", FORMATS)

TEST = {
    "type": "object",
    "properties": {"flag": {"type": "boolean"}},
    "required": ["flag"],
}
# As pydantic writes schemas: definitions at the end, references to them, a choice with null.
ORDER = {
    "$defs": {
        "Size": {"enum": ["s", "m", "l"], "type": "string"},
        "Item": {
            "type": "object",
            "properties": {
                "size": {"$ref": "#/$defs/Size"},
                "count": {"type": "integer", "enum": [1, 2, 3]},
                "gift": {"type": "boolean"},
            },
            "required": ["size", "count"],
        },
    },
    "type": "object",
    "properties": {
        "mode": {"$ref": "#/$defs/Size"},
        "items": {"type": "array", "items": {"$ref": "#/$defs/Item"}, "minItems": 1, "maxItems": 2},
        "paid": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
    },
    "required": ["items", "paid"],
}
# As other generators write schemas: a reference at the top, a tagged union, a tuple.
ROUTE = {
    "$ref": "#/$defs/Route",
    "$defs": {
        "Route": {
            "type": "object",
            "properties": {
                "by": {"oneOf": [{"$ref": "#/$defs/Car"}, {"$ref": "#/$defs/Foot"}]},
                "pair": {
                    "type": "array",
                    "prefixItems": [{"enum": ["a", "b"]}, {"type": "boolean"}],
                    "minItems": 2,
                    "maxItems": 2,
                },
            },
            "required": ["by", "pair"],
        },
        "Car": {
            "type": "object",
            "properties": {"kind": {"const": "car"}, "toll": {"type": "boolean"}},
            "required": ["kind", "toll"],
        },
        "Foot": {
            "type": "object",
            "properties": {"kind": {"const": "foot"}},
            "required": ["kind"],
        },
    },
}
SCHEMAS: dict[str, Mapping[str, Any]] = {"test": TEST, "place_order": ORDER, "find_route": ROUTE}
ANSWER = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}
RESPONSE_FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": ANSWER}}


def function(name: str, **more: Any) -> dict[str, Any]:
    described = {"name": name, "parameters": SCHEMAS[name], **more}
    return {"type": "function", "function": described}


@asynccontextmanager
async def demo(triton: RunningTriton, format: str) -> AsyncIterator[httpx.AsyncClient]:
    """The demo model behind a gateway that is told another tool-call format."""
    backend = TritonBackend("triton", TritonClient(triton.grpc))
    chat = Chat("think-tags", format, "enable_thinking")
    async with server(served(backend, chat=chat, context=1024)) as client:
        yield client


async def ask(client: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    body = {
        "messages": [{"role": "user", "content": "What is 2 + 3?"}],
        "max_tokens": 300,
        "temperature": 1.5,
        **more,
    }
    response = await client.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    choice: dict[str, Any] = response.json()["choices"][0]
    return choice


def check_calls(choice: Mapping[str, Any], schemas: Mapping[str, Any]) -> None:
    assert choice["finish_reason"] == "tool_calls", choice
    assert not choice["message"]["content"], choice
    assert choice["message"]["tool_calls"]
    for call in choice["message"]["tool_calls"]:
        name, arguments = call["function"]["name"], json.loads(call["function"]["arguments"])
        jsonschema_rs.validate(schemas[name], arguments)


@every_format
@pytest.mark.parametrize("seed", range(3))
async def test_a_required_call_is_of_a_listed_function_and_fits_its_schema(
    triton_server: RunningTriton, format: str, seed: int
) -> None:
    async with demo(triton_server, format) as client:
        choice = await ask(
            client,
            tools=[function(each) for each in SCHEMAS],
            tool_choice="required",
            parallel_tool_calls=False,
            seed=seed,
        )
    check_calls(choice, SCHEMAS)


@every_format
@pytest.mark.parametrize("name", sorted(SCHEMAS))
async def test_a_named_function_is_called_with_arguments_that_fit(
    triton_server: RunningTriton, format: str, name: str
) -> None:
    async with demo(triton_server, format) as client:
        choice = await ask(
            client,
            tools=[function(each) for each in SCHEMAS],
            tool_choice={"type": "function", "function": {"name": name}},
        )
    assert [call["function"]["name"] for call in choice["message"]["tool_calls"]] == [name]
    check_calls(choice, SCHEMAS)


@every_format
async def test_a_forced_call_comes_after_requested_reasoning(
    triton_server: RunningTriton, format: str
) -> None:
    async with demo(triton_server, format) as client:
        choice = await ask(
            client,
            tools=[function("test")],
            tool_choice="required",
            parallel_tool_calls=False,
            temperature=0,
            chat_template_kwargs={"enable_thinking": True},
        )
    assert choice["message"]["reasoning_content"]
    check_calls(choice, SCHEMAS)


@every_format
async def test_a_model_that_answers_follows_the_answers_schema(
    triton_server: RunningTriton, format: str
) -> None:
    async with demo(triton_server, format) as client:
        choice = await ask(
            client, tools=[function("test")], response_format=RESPONSE_FORMAT, temperature=0
        )
    if format == "llama3-json" and choice["message"]["tool_calls"]:
        # Calls have no marker in this format: one schema covers both, and noise may choose either.
        check_calls(choice, SCHEMAS)
        return
    jsonschema_rs.validate(ANSWER, json.loads(choice["message"]["content"]))
    assert choice["finish_reason"] == "stop"


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


@pytest.mark.parametrize("thinks", [False, True])
async def test_a_model_with_an_answer_schema_can_still_call_a_tool(
    triton_server: RunningTriton, thinks: bool
) -> None:
    async with demo(triton_server, "hermes-json") as client:
        choice = await ask(
            client,
            messages=[{"role": "user", "content": "What is the weather in Paris?"}],
            tools=[WEATHER],
            response_format=RESPONSE_FORMAT,
            temperature=0,
            chat_template_kwargs={"enable_thinking": thinks},
        )
    call = choice["message"]["tool_calls"][0]["function"]
    assert (call["name"], json.loads(call["arguments"])) == ("get_weather", {"city": "Paris"})
    assert choice["finish_reason"] == "tool_calls"


async def test_a_strict_function_called_by_choice_gets_valid_arguments(
    triton_server: RunningTriton,
) -> None:
    rome = {
        "type": "object",
        "properties": {"city": {"enum": ["Rome", "Oslo"]}, "unit": {"enum": ["c", "f"]}},
        "required": ["city", "unit"],
    }
    strict = {"name": "get_weather", "parameters": rome, "strict": True}
    async with demo(triton_server, "hermes-json") as client:
        choice = await ask(
            client,
            messages=[{"role": "user", "content": "What is the weather in Paris?"}],
            tools=[{"type": "function", "function": strict}],
            temperature=0,
        )
    check_calls(choice, {"get_weather": rome})


async def test_a_strict_function_does_not_constrain_answers(
    triton_server: RunningTriton,
) -> None:
    tools = [function("test", strict=True)]
    async with demo(triton_server, "hermes-json") as client:
        free = await ask(client, temperature=0)
        held = await ask(client, temperature=0, tools=tools)
        stream = await client.post(
            "/v1/chat/completions",
            json={
                "messages": [{"role": "user", "content": "What is 2 + 3?"}],
                "tools": tools,
                "temperature": 0,
                "stream": True,
            },
        )
    assert free["message"]["content"]
    assert held["finish_reason"] == "stop"
    assert "".join(
        chunk["choices"][0]["delta"].get("content") or ""
        for chunk in events(stream.text)
        if chunk != "[DONE]"
    ) == (held["message"]["content"] or "")


@every_format
async def test_a_forced_call_is_the_same_streamed_and_unstreamed(
    triton_server: RunningTriton, format: str
) -> None:
    body = {
        "messages": [{"role": "user", "content": "What is 2 + 3?"}],
        "tools": [function("place_order")],
        "tool_choice": "required",
        "temperature": 0,
        "max_tokens": 300,
    }
    async with demo(triton_server, format) as client:
        whole = await ask(client, **body)
        stream = await client.post("/v1/chat/completions", json={**body, "stream": True})
    calls: dict[int, str] = {}
    for chunk in events(stream.text)[:-1]:
        for call in chunk["choices"][0]["delta"].get("tool_calls") or []:
            index = call["index"]
            calls[index] = calls.get(index, "") + (call["function"].get("arguments") or "")
    arguments = [call["function"]["arguments"] for call in whole["message"]["tool_calls"]]
    assert list(calls.values()) == arguments
    assert arguments
