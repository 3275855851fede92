"""A truncated or abandoned call is reported as such in every dialect."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from fakes.backend import FakeBackend
from gateway.either_way import ask, everywhere
from gateway.harness import ids, served, server, user

CALL = '<tool_call>\n{"name": "run", "arguments": {"command": "rm -rf build/old"}}\n</tool_call>'
CUT = CALL[: CALL.index("/old")]
SPOKEN = '{"command": "rm -rf build'
PARAMETERS = {"type": "object", "properties": {"command": {"type": "string"}}}
CHAT_TOOL = {"type": "function", "function": {"name": "run", "parameters": PARAMETERS}}
RESPONSES_TOOL = {"type": "function", "name": "run", "parameters": PARAMETERS}
MESSAGES_TOOL = {"name": "run", "input_schema": PARAMETERS}


either_end = pytest.mark.parametrize("cut", [True, False], ids=["limit", "end of sequence"])


def joined(seen: Sequence[Any], *path: str) -> str:
    """The strings at this path in all events that have it."""
    texts = []
    for event in seen:
        for step in path:
            event = event.get(step) if isinstance(event, dict) else None
        texts.append(event if isinstance(event, str) else "")
    return "".join(texts)


@everywhere
@either_end
async def test_a_chat_keeps_what_was_written_and_does_not_claim_a_call(
    cut: bool, theirs: bool
) -> None:
    body = {"messages": user("Hi"), "tools": [CHAT_TOOL]}
    path = "/v1/chat/completions"
    whole = (await ask(path, body, CUT, cut=cut, theirs=theirs))["choices"][0]
    assert whole["message"]["tool_calls"][0]["function"]["arguments"] == SPOKEN
    assert whole["finish_reason"] == ("length" if cut else "stop")
    *seen, _ = await ask(path, {**body, "stream": True}, CUT, cut=cut, theirs=theirs)
    choices = [event["choices"][0] for event in seen if event["choices"]]
    fragments = [
        call["function"]["arguments"]
        for choice in choices
        for call in choice["delta"].get("tool_calls", ())
    ]
    assert "".join(fragments) == SPOKEN
    assert choices[-1]["finish_reason"] == whole["finish_reason"]


@everywhere
@either_end
async def test_a_message_shows_no_input_that_the_model_did_not_finish(
    cut: bool, theirs: bool
) -> None:
    body = {"messages": user("Hi"), "tools": [MESSAGES_TOOL]}
    path = "/v1/messages"
    whole = await ask(path, body, f"I run it.\n{CUT}", cut=cut, theirs=theirs)
    assert [block["type"] for block in whole["content"]] == ["text"]
    assert whole["stop_reason"] == ("max_tokens" if cut else "end_turn")
    seen = await ask(path, {**body, "stream": True}, CUT, cut=cut, theirs=theirs)
    assert joined(seen, "delta", "partial_json") == SPOKEN
    assert joined(seen, "delta", "stop_reason") == whole["stop_reason"]


@everywhere
@either_end
async def test_a_response_names_the_call_incomplete(cut: bool, theirs: bool) -> None:
    body = {"input": "Hi", "tools": [RESPONSES_TOOL]}
    path = "/v1/responses"
    whole = await ask(path, body, CUT, cut=cut, theirs=theirs)
    (call,) = whole["output"]
    assert (call["arguments"], call["status"]) == (SPOKEN, "incomplete")
    assert whole["status"] == ("incomplete" if cut else "completed")
    assert whole["incomplete_details"] == ({"reason": "max_output_tokens"} if cut else None)
    seen = await ask(path, {**body, "stream": True}, CUT, cut=cut, theirs=theirs)
    assert joined(seen, "delta") == SPOKEN
    (done,) = [event["item"] for event in seen if event["type"] == "response.output_item.done"]
    assert (done["arguments"], done["status"]) == (SPOKEN, "incomplete")
    assert seen[-1]["response"]["output"] == [done]
    assert seen[-1]["type"] == f"response.{whole['status']}"


@everywhere
async def test_a_complete_call_after_a_broken_one_does_not_finish_with_tool_calls(
    theirs: bool,
) -> None:
    body = {"messages": user("Hi"), "tools": [CHAT_TOOL]}
    said = f'{CUT}"x</tool_call>\n{CALL}'
    whole = await ask("/v1/chat/completions", body, said, cut=False, theirs=theirs)
    assert whole["choices"][0]["finish_reason"] == "stop"


@everywhere
async def test_a_complete_call_at_the_limit_is_kept_and_the_reason_is_length(theirs: bool) -> None:
    body = {"messages": user("Hi"), "tools": [CHAT_TOOL]}
    whole = await ask("/v1/chat/completions", body, CALL, cut=True, theirs=theirs)
    arguments = whole["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"command": "rm -rf build/old"}
    assert whole["choices"][0]["finish_reason"] == "length"


async def test_a_limit_at_any_token_leaves_a_prefix_of_the_complete_arguments() -> None:
    tokens = ids(CALL)
    backend = FakeBackend(tokens)
    body = {"model": "demo", "messages": user("Hi"), "tools": [CHAT_TOOL]}
    whole = '{"command": "rm -rf build/old"}'
    seen = set()
    async with server(served(backend)) as client:
        for limit in range(1, len(tokens)):
            answer = await client.post("/v1/chat/completions", json={**body, "max_tokens": limit})
            choice = answer.json()["choices"][0]
            assert choice["finish_reason"] == "length"
            for call in choice["message"].get("tool_calls", ()):
                seen.add(call["function"]["arguments"])
    assert len(seen) > 3
    for arguments in seen - {whole}:
        assert whole.startswith(arguments)
        with pytest.raises(json.JSONDecodeError):
            json.loads(arguments)
