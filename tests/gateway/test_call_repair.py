"""Calls that a server parses itself pass unchanged if clients can read them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fakes.chat_server import CHAT, DONE, ChatServer, chat_server, chunk
from gateway.harness import events, server, user
from hypothesis import given
from hypothesis import strategies as st

from enginix.backends.openai.call_repair import StreamedCalls, mended_document
from enginix.backends.openai.server import OpenAIBackend
from enginix.gateway.models.registry import PassthroughModel

A, B = '{"path":"a"}', '{"path":"b"}'
TOOL = {"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}}


def call(id: str | None, arguments: Any, *, index: int | None = 0) -> dict[str, Any]:
    function = {"arguments": arguments, **({"name": "read"} if id else {})}
    if arguments is None:
        del function["arguments"]
    fields: dict[str, Any] = {"index": index, "id": id, "function": function}
    return {name: value for name, value in fields.items() if value is not None}


def deltas(*calls: list[dict[str, Any]], reason: str | None = "tool_calls") -> list[bytes]:
    said = [chunk({"tool_calls": each}) for each in calls]
    return [*said, *([chunk({}, reason)] if reason else []), DONE]


def relayed(url: str) -> PassthroughModel:
    return PassthroughModel("ours", OpenAIBackend("stand-in", url, "theirs"), "vllm")


def body(**more: Any) -> dict[str, Any]:
    return {"model": "ours", "messages": user("Hi"), "tools": [TOOL], **more}


def as_clients_do(stream: str) -> tuple[list[str], str]:
    """Arguments joined by index, and the finish reason."""
    gathered: dict[int, str] = {}
    reason = ""
    for each in events(stream):
        for choice in each["choices"] if isinstance(each, dict) else ():
            for part in choice["delta"].get("tool_calls", ()):
                text = part["function"].get("arguments", "")
                gathered[part["index"]] = gathered.get(part["index"], "") + text
            reason = choice["finish_reason"] or reason
    return [gathered[index] for index in sorted(gathered)], reason


async def asked(said: list[bytes]) -> tuple[list[str], str]:
    async with chat_server(said) as (_, url), server(relayed(url)) as client:
        return as_clients_do((await client.post(CHAT, json=body(stream=True))).text)


async def asked_whole(calls: list[Any], reason: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    choice = {"index": 0, "message": message, "finish_reason": reason}
    document = {"model": "theirs", "choices": [choice], "x_own": [1], "usage": {}}

    def put(stand_in: ChatServer) -> None:
        stand_in.routes[CHAT] = lambda _: json.dumps(document).encode()

    async with chat_server() as (stand_in, url), server(relayed(url)) as client:
        put(stand_in)
        answer = (await client.post(CHAT, json=body())).json()
    assert (answer["model"], answer["x_own"]) == ("ours", [1])
    found: dict[str, Any] = answer["choices"][0]
    return found


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([[call("1", A)], [call("2", B)]], [A, B]),
        ([[call("1", A), call("2", B)]], [A, B]),
        ([[call("1", "")], [call(None, A)], [call("2", B[:3])], [call(None, B[3:])]], [A, B]),
        ([[call("1", A, index=None)], [call("2", B, index=None)]], [A, B]),
        ([[call("1", None)], [call("2", "")], [call("3", B)]], ["{}", "{}", B]),
        ([[call("1", "")]], ["{}"]),
        ([[call("1", None)]], ["{}"]),
        ([[call("1", {"path": "a"})]], [A]),
        ([[call("1", A, index=0), call("2", B, index=1)]], [A, B]),
    ],
)
async def test_a_stream_s_calls_are_separated_and_have_arguments(
    sent: list[list[dict[str, Any]]], expected: list[str]
) -> None:
    assert await asked(deltas(*sent)) == (expected, "tool_calls")


async def test_a_call_cut_by_the_server_s_limit_is_not_completed() -> None:
    assert await asked(deltas([call("1", "")], reason="length")) == ([""], "length")
    assert await asked(deltas([call("1", A[:5])], reason="length")) == ([A[:5]], "length")


async def test_half_a_call_is_not_claimed_as_one() -> None:
    assert await asked(deltas([call("1", A[:5])])) == ([A[:5]], "stop")
    whole = await asked_whole([call("1", A[:5])], "tool_calls")
    assert whole["finish_reason"] == "stop"
    assert whole["message"]["tool_calls"][0]["function"]["arguments"] == A[:5]


@pytest.mark.parametrize(
    ("arguments", "reason", "expected"),
    [
        ("", "tool_calls", "{}"),
        (None, "stop", "{}"),
        ({"path": "a"}, "tool_calls", A),
        (A, "tool_calls", A),
        ("", "length", ""),
        (A[:5], "length", A[:5]),
    ],
)
async def test_a_complete_answer_s_calls_are_separated_too(
    arguments: Any, reason: str, expected: str
) -> None:
    choice = await asked_whole([call("1", arguments)], reason)
    function = choice["message"]["tool_calls"][0]["function"]
    assert function.get("arguments") == expected
    assert choice["finish_reason"] == reason


async def test_all_but_the_last_call_at_a_limit_are_complete() -> None:
    choice = await asked_whole([call("1", ""), call("2", "", index=1)], "length")
    arguments = [each["function"]["arguments"] for each in choice["message"]["tool_calls"]]
    assert arguments == ["{}", ""]


@given(
    pieces=st.lists(st.sampled_from(["a", '"tool_calls"', "\n\n", "data:", "{"]), max_size=6),
    ends=st.sampled_from(["\n\n", "\r\n\r\n"]),
)
def test_what_needs_no_repair_passes_byte_for_byte(pieces: list[str], ends: str) -> None:
    calls = [call("1", A[:4])], [call(None, A[4:])], [call("2", B, index=1)]
    said = [
        f'data:  {{"choices": [{{"delta": {{"content": {json.dumps(text)}}}}}]}}' for text in pieces
    ]
    said += [each.decode().strip() for each in deltas(*calls)]
    said += [": comment", "event: x\ndata: 1", "data: no json", "data: [5]", 'data: {"choices": 5}']
    stream = "".join(f"{each}{ends}" for each in said).encode()
    mender = StreamedCalls()
    assert b"".join(mender.feed(each) for each in (stream[:0], stream)) == stream
    assert mended_document(stream) == stream
