"""The oracle itself: it detects every kind of error, in every dialect."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import httpx
import pytest
from fakes.backend import FakeBackend
from fakes.chat_server import DONE, chat_server, event
from gateway.harness import Call, application, ids, served, server, user

from tests.oracle import tap
from tests.oracle.answers import answer_faults
from tests.oracle.shapes import alternatives, faults, shapes

TEXT = "<think>\nI know.\n</think>\n\nParis."
CALL = '<tool_call>\n{"name": "look", "arguments": {"at": "it"}}\n</tool_call>'
LOOK = {"name": "look", "description": "Look.", "parameters": {"type": "object"}}
REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "messages": user("Hi"),
        "tools": [{"type": "function", "function": LOOK}],
    },
    "/v1/completions": {"prompt": "Hi", "max_tokens": 100},
    "/v1/responses": {"input": "Hi", "tools": [{"type": "function", **LOOK}]},
    "/v1/messages": {
        "messages": user("Hi"),
        "max_tokens": 100,
        "tools": [{"name": "look", "input_schema": {"type": "object"}}],
    },
}


async def answer(path: str, text: str, *, stream: bool) -> tuple[str, bytes]:
    """The content type and body of one answer of the real gateway."""
    async with server(served(FakeBackend(ids(text)))) as client:
        found = await client.post(path, json={**REQUESTS[path], "stream": stream})
    assert found.status_code == 200, found.text
    return found.headers["content-type"], found.content


def judged(path: str, kind: str, body: bytes) -> list[str]:
    return answer_faults("POST", path, 200, kind, body, whole=True, ours=True)


# The only fields whose absence is no fault.
OPTIONAL = {
    "/v1/chat/completions": {
        *("reasoning_content", "tool_calls", "completion_tokens_details", "reasoning_tokens"),
        # Of chunks: each brings what is new.
        *("role", "content", "refusal", "id", "type", "name", "logprobs", "system_fingerprint"),
    },
    "/v1/completions": {"completion_tokens_details", "reasoning_tokens", "system_fingerprint"},
    "/v1/responses": {"user", "content", "status", "name"},
    "/v1/messages": {"input_tokens"},
}


@pytest.mark.parametrize("text", [TEXT, CALL])
@pytest.mark.parametrize("path", REQUESTS)
async def test_a_required_field_missing_from_a_complete_answer_is_reported(
    path: str, text: str
) -> None:
    kind, body = await answer(path, text, stream=False)
    document = json.loads(body)
    assert judged(path, kind, body) == []
    for remove in removals(document):
        changed = deepcopy(document)
        name = remove(changed)
        assert judged(path, kind, json.dumps(changed).encode()) or name in OPTIONAL[path], name


@pytest.mark.parametrize("text", [TEXT, CALL])
@pytest.mark.parametrize("path", REQUESTS)
async def test_a_required_field_that_an_event_lacks_is_missed(path: str, text: str) -> None:
    kind, body = await answer(path, text, stream=True)
    assert judged(path, kind, body) == []
    blocks = body.decode().split("\n\n")
    for place, block in enumerate(blocks):
        head, marker, data = block.partition("data: ")
        if not marker or data == "[DONE]":
            continue
        for remove in removals(json.loads(data)):
            changed = json.loads(data)
            name = remove(changed)
            others = [*blocks[:place], head + marker + json.dumps(changed), *blocks[place + 1 :]]
            found = judged(path, kind, "\n\n".join(others).encode())
            assert found or name in OPTIONAL[path], name


async def test_a_stream_that_lost_an_event_is_found() -> None:
    for path in ("/v1/responses", "/v1/messages", "/v1/chat/completions"):
        kind, body = await answer(path, TEXT, stream=True)
        without_end = b"\n\n".join(body.split(b"\n\n")[:-2]) + b"\n\n"
        assert judged(path, kind, without_end), path


async def test_a_clients_answers_are_kept_until_the_test_ends() -> None:
    _, body = await answer("/v1/chat/completions", TEXT, stream=False)
    document = json.loads(body)
    del document["choices"][0]["logprobs"]
    tap.check(
        "POST",
        "/v1/chat/completions",
        200,
        "application/json",
        json.dumps(document).encode(),
        whole=True,
        ours=True,
    )
    assert tap.take_faults() == [
        "POST /v1/chat/completions: .choices[0].logprobs: Choice must have it"
    ]


async def test_the_sdks_own_clients_are_listened_to() -> None:
    openai = pytest.importorskip("openai", reason="not packaged everywhere")
    wrong = {"id": "theirs", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    async with chat_server([event(wrong), DONE]) as (_, url):
        port = httpx.URL(url).port
        tap.OWN_PORTS.add(port)
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x") as client:
            stream = await client.chat.completions.create(
                model="m", messages=user("Hi"), stream=True
            )
            async for _ in stream:
                pass
        of_openai = tap.take_faults()
        async with httpx.AsyncClient(trust_env=False) as plain:
            await plain.post(f"{url}/v1/chat/completions", json={"stream": True})
        tap.OWN_PORTS.discard(port)
    assert "POST /v1/chat/completions: event 0.choices: ChatCompletionChunk must have it" in (
        of_openai
    )
    assert tap.take_faults() == of_openai


async def test_answers_that_are_passed_on_are_not_judged() -> None:
    body = b'{"id": "theirs", "choices": []}'
    path, kind = "/v1/chat/completions", "application/json"
    assert answer_faults("POST", path, 200, kind, body, whole=True, ours=False) == []
    assert answer_faults("POST", path, 200, kind, body, whole=True, ours=True)


async def test_errors_have_the_envelope_of_their_dialect() -> None:
    async with application(served(FakeBackend())) as app:
        for path, shape in (("/v1/messages", "AnthropicError"), ("/v1/responses", "OpenAIError")):
            call = Call(app, path, {"model": "nobody"})
            await call.run()
            assert faults(json.loads(call.body), shape) == []


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (1, "string", ["it: expected string, got 1"]),
        (True, "integer", ["it: expected integer, got true"]),
        (1, "number", []),
        (None, "string|null", []),
        ("c", "'a'|'b'", ["it: expected 'a'|'b', got \"c\""]),
        ([1, "a"], "[integer]", ['[1]: expected integer, got "a"']),
        ({"a": 1}, "{string}", [".a: expected string, got 1"]),
        ({"type": "ping", "x": 1}, "ping", [".x: ping has no such field"]),
        ({"type": "text_delta"}, "TextDelta|ThinkingDelta", [".text: TextDelta must have it"]),
    ],
)
def test_a_fault_says_where_it_is(value: Any, kind: str, expected: list[str]) -> None:
    assert faults(value, kind) == expected


def test_every_type_that_a_shape_names_is_known() -> None:
    names = set()
    for shape in shapes().values():
        for kind in shape.values():
            names |= set(re.findall(r"[A-Za-z_.]+", re.sub(r"'[^']*'", "", kind)))
    assert names - set(shapes()) == {"string", "integer", "number", "boolean", "null", "any"}


def test_alternatives_are_separated_outside_of_brackets() -> None:
    assert alternatives("[a|b]|'c|d'|{e|f}|g") == ("[a|b]", "'c|d'", "{e|f}", "g")


def removals(document: Any) -> list[Callable[[Any], str]]:
    """Functions that each remove one field from a copy and return its name."""
    found: list[Callable[[Any], str]] = []

    def walk(value: Any, path: tuple[Any, ...]) -> None:
        if isinstance(value, dict):
            found.extend(taker(path, key) for key in value)
        if isinstance(value, dict | list):
            for key, one in value.items() if isinstance(value, dict) else enumerate(value):
                # What a tool or its arguments hold is the client's.
                if key not in ("tools", "input", "parameters"):
                    walk(one, (*path, key))

    walk(document, ())
    return found


def taker(path: tuple[Any, ...], key: str) -> Callable[[Any], str]:
    def take(document: Any) -> str:
        for step in path:
            document = document[step]
        del document[key]
        return key

    return take
