"""Tests every type in docs/dialects.md against the live application."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fakes.backend import FakeBackend
from gateway.harness import ids, served, server
from gateway.type_tables import OTHER, Row, rows

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
MARK = "markword"
INVENTED = "invented_2031"
# What a type that is skipped may hold: nothing of it has the shape of another type's field.
STRANGE = {
    "id": "x1",
    "name": MARK,
    "text": {MARK: 1},
    "arguments": {MARK: [1]},
    "action": 5,
    "operation": [],
    "output": {MARK: 1},
    "content": {MARK: True},
    "summary": 1.5,
    "source": MARK,
    "tool_use_id": 7,
    "tools": MARK,
    "input": [MARK],
    "namespace": {},
    "tool_name": None,
    "status": None,
}
CALL = {"call_id": "c1", "name": "look", "arguments": "{}"}
ITEMS: dict[str, dict[str, Any]] = {
    "message": {"role": "user", "content": MARK},
    "reasoning": {"summary": [], "content": [{"type": "reasoning_text", "text": MARK}]},
    "function_call": {**CALL, "arguments": json.dumps({"at": MARK})},
    "function_call_output": {"call_id": "c1", "output": MARK},
    "custom_tool_call": {"call_id": "c1", "name": "look", "input": MARK},
    "custom_tool_call_output": {"call_id": "c1", "output": MARK},
    "local_shell_call": {"call_id": "c1", "action": {"type": "exec", "command": [MARK], "env": {}}},
    "local_shell_call_output": {"id": "c1", "output": MARK},
    "shell_call": {"call_id": "c1", "action": {"commands": [MARK]}},
    "shell_call_output": {
        "call_id": "c1",
        "output": [{"stdout": MARK, "stderr": "", "outcome": {"type": "exit", "exit_code": 1}}],
    },
    "apply_patch_call": {"call_id": "c1", "operation": {"type": "delete_file", "path": MARK}},
    "apply_patch_call_output": {"call_id": "c1", "status": "completed", "output": MARK},
    "tool_search_call": {"call_id": "c1", "execution": "client", "arguments": {"query": MARK}},
    "tool_search_output": {"call_id": "c1", "tools": [{"type": "function", "name": MARK}]},
    "additional_tools": {"role": "developer", "tools": [{"type": "function", "name": MARK}]},
}
ITEMS_CALL = {"type": "function_call", **CALL}
BLOCKS: dict[str, dict[str, Any]] = {
    "text": {"text": MARK},
    "thinking": {"thinking": MARK, "signature": ""},
    "tool_use": {"id": "c1", "name": "look", "input": {"at": MARK}},
    "tool_result": {"tool_use_id": "c1", "content": MARK},
    "tool_reference": {"tool_name": MARK},
    "search_result": {"source": "s", "title": "t", "content": [{"type": "text", "text": MARK}]},
    "document": {"source": {"type": "text", "media_type": "text/plain", "data": MARK}},
    "compaction": {"content": MARK},
    "image": {"source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
}
ASSISTANTS = {"thinking", "tool_use", "compaction", "server_tool_use", "redacted_thinking"}
PARTS: dict[str, dict[str, Any]] = {
    "refusal": {"refusal": MARK},
    "image_url": {"image_url": {"url": "http://x/y.png"}},
    "input_image": {"image_url": "data:image/png;base64,iVBO"},
    "input_audio": {"input_audio": {"data": "", "format": "wav"}},
    "file": {"file": {"file_id": "f"}},
    "input_file": {"file_id": "f"},
}
TOOLS: dict[str, dict[str, Any]] = {
    "namespace": {"name": "space", "tools": [{"type": "function", "name": MARK}]},
    "tool_search": {"execution": "client", "description": MARK},
    "shell": {"environment": {"type": "local"}},
}
# Tools that are declared by their type alone -> a word of what the model is shown.
SHOWN = {
    "local_shell": "local_shell",
    "shell": "commands",
    "apply_patch": "apply_patch",
    "bash": "restart",
    "text_editor": "view_range",
    "memory": "old_path",
}


def sample(row: Row) -> dict[str, Any]:
    kind = INVENTED if row.type == OTHER else row.type
    if row.done != "read" and row.done != "noted":
        return {**STRANGE, "type": kind}
    known = {"items": ITEMS, "blocks": BLOCKS, "tools": TOOLS}.get(row.section.split()[-1], PARTS)
    if row.section.endswith("tools"):
        plain: dict[str, Any] = {"name": MARK}
    else:
        plain = {"text": MARK}
    return {"type": kind, **known.get(kind, plain)}


def body(row: Row, *, answered: bool = False) -> tuple[str, dict[str, Any]]:
    """A request with the type in the history or in the message to be answered."""
    path, _, what = row.section.partition(": ")
    said = sample(row)
    if path == CHAT:
        if what == "tools":
            return path, {"messages": [{"role": "user", "content": "Hi"}], "tools": [said]}
        parts = [{"type": "text", "text": "Hi"}, said]
        later = [] if answered else [{"role": "assistant", "content": "Yes?"}]
        last = [] if answered else [{"role": "user", "content": "Go on."}]
        return path, {"messages": [{"role": "user", "content": parts}, *later, *last]}
    if path == RESPONSES:
        first = {"role": "user", "content": "Hi"}
        if what == "tools":
            return path, {"input": "Hi", "tools": [said]}
        if row.type == "reasoning":
            # Templates forget the thoughts before the user's last message.
            return path, {"input": [first, said, ITEMS_CALL]}
        if what == "items":
            return path, {"input": [first, said, {"role": "user", "content": "Go on."}]}
        if row.type in ("reasoning_text", "summary_text"):
            return path, {"input": [first, {"type": "reasoning", "summary": [said]}, ITEMS_CALL]}
        message = {"role": "user", "content": [{"type": "input_text", "text": "Hi"}, said]}
        later = [] if answered else [{"role": "assistant", "content": "Yes?"}, first]
        return path, {"input": [message, *later]}
    first = {"role": "user", "content": "Hi"}
    asked: dict[str, Any] = {"max_tokens": 5}
    if what == "tools":
        return path, {**asked, "messages": [first], "tools": [said]}
    if row.type == "thinking":
        turn = [said, {"type": "tool_use", **BLOCKS["tool_use"]}]
        result = [{"type": "tool_result", "tool_use_id": "c1", "content": "It is."}]
        later = [{"role": "assistant", "content": turn}, {"role": "user", "content": result}]
        return path, {**asked, "messages": [first, *later]}
    role = "assistant" if row.type in ASSISTANTS else "user"
    message = {"role": role, "content": [{"type": "text", "text": "Hi"}, said]}
    later = [] if answered else [{"role": "assistant", "content": "Yes?"}, first]
    return path, {**asked, "messages": [message, *later]}


async def answer(path: str, asked: dict[str, Any]) -> tuple[int, str, str]:
    """The status, the model's prompt, and the body."""
    backend = FakeBackend(ids("Yes."))
    async with server(served(backend, context=2048)) as client:
        response = await client.post(path, json=asked)
    prompt = ""
    if backend.asked:
        prompt = served(backend).tokenizer.decode(backend.asked[-1].prompt_ids, keep=("<think>",))
    return response.status_code, prompt, response.text


# A reference is read where an answer is stored: that is in test_responses.py.
DRIVEN = [row for row in rows() if row.type != "item_reference"]
every_row = pytest.mark.parametrize("row", DRIVEN, ids=lambda row: f"{row.section}: {row.type}")


@every_row
async def test_every_type_is_read_noted_passed_over_or_refused_as_the_table_says(row: Row) -> None:
    status, prompt, text = await answer(*body(row))
    if row.done == "refused":
        assert status == 400
        assert json.loads(text)["error"]["param"]
        return
    assert status == 200, text
    if row.done == "read":
        kind = row.type.rstrip("0123456789").rstrip("_") if MESSAGES in row.section else row.type
        assert SHOWN.get(kind, MARK) in prompt
    elif row.done == "noted":
        assert "this model reads text only]" in prompt
    else:
        assert row.done == "passed over"
        assert MARK not in prompt
        assert INVENTED not in prompt


@pytest.mark.parametrize(
    "row",
    [row for row in rows() if row.done == "noted"],
    ids=lambda row: f"{row.section}: {row.type}",
)
async def test_an_unreadable_part_is_refused_in_the_message_to_be_answered(row: Row) -> None:
    status, _, text = await answer(*body(row, answered=True))
    assert status == 400
    assert "this model reads text" in text


@pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES])
async def test_a_message_without_readable_parts_is_not_an_empty_prompt(path: str) -> None:
    said = [{"role": "user", "content": [{**STRANGE, "type": INVENTED}]}]
    named = {"input" if path == RESPONSES else "messages": said}
    status, _, text = await answer(path, {**named, "max_tokens": 5})
    assert status == 400, text
    assert INVENTED in text
