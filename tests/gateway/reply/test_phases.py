"""Replies in phases: reasoning, then a constrained call, then possibly another."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from fakes.backend import FakeBackend
from gateway.harness import Call, application, events, ids, served, server, user

import enginix.catalog.load as catalog
from enginix.chat.reply import TOOLS as TOOL_FORMATS
from enginix.chat.tokens import Tokenizer
from enginix.errors import GenerationFailed
from enginix.manifest import Chat

FUNCTION = {
    "name": "f",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
}
TOOLS = [{"type": "function", "function": FUNCTION}]
STRICT = {"type": "function", "function": {**FUNCTION, "strict": True}}
THINKING = {"chat_template_kwargs": {"enable_thinking": True}}
FORCED: dict[str, Any] = {"messages": user("Hi"), "tools": TOOLS, "tool_choice": "required"}
THOUGHTS = ids("I think of it.\n</think>\n\nnever read")
CALL = ids('{"name": "f", "arguments": {"a": 1}}')
AND_ANOTHER = ids('\n<tool_call>\n{"name": "free"')
REST = ids("")
WRITTEN = ids("</think>\n\n<tool_call>\n")
CHAT = "/v1/chat/completions"


async def answer(backend: FakeBackend, **more: Any) -> Any:
    async with server(served(backend, context=1024)) as client:
        response = await client.post(CHAT, json={**FORCED, **more})
    assert response.status_code == 200, response.text
    return response.json()


def arguments(choice: Any) -> list[str]:
    return [call["function"]["arguments"] for call in choice["message"]["tool_calls"] or ()]


async def test_each_call_is_constrained_to_its_function_and_text_is_not() -> None:
    backend = FakeBackend(CALL, AND_ANOTHER, CALL, REST)
    reply = await answer(backend)
    assert arguments(reply["choices"][0]) == ['{"a": 1}', '{"a": 1}']
    assert [request.sampling.guide is not None for request in backend.asked] == [1, 0, 1, 0]
    assert len({request.request_id for request in backend.asked}) == len(backend.asked)


async def test_every_phase_continues_the_text_of_earlier_phases() -> None:
    backend = FakeBackend(THOUGHTS, CALL, REST)
    reply = await answer(backend, parallel_tool_calls=False, **THINKING)
    reasoning, call = backend.asked
    thought = ids("I think of it.\n")
    assert list(call.prompt_ids) == [*reasoning.prompt_ids, *thought, *WRITTEN]
    assert reply["choices"][0]["message"]["reasoning_content"].strip() == "I think of it."
    assert reply["usage"]["completion_tokens"] == len(thought) + len(WRITTEN) + len(CALL)


@pytest.mark.parametrize("tools", sorted(TOOL_FORMATS))
async def test_a_call_after_reasoning_does_not_count_as_reasoning(tools: str) -> None:
    call = {
        "qwen3-xml": "<function=f>\n<parameter=a>\n1\n</parameter>\n</function>",
        "llama3-json": '{"name": "f", "parameters": {"a": 1}}',
        "hermes-json": '{"name": "f", "arguments": {"a": 1}}',
    }.get(tools, '[{"name": "f", "arguments": {"a": 1}}]')
    backend = FakeBackend(THOUGHTS, ids(call))
    model = served(backend, context=1024, chat=Chat("think-tags", tools, "enable_thinking"))
    async with server(model) as client:
        body = {**FORCED, **THINKING, "parallel_tool_calls": False}
        reply = (await client.post(CHAT, json=body)).json()
    assert arguments(reply["choices"][0]) == ['{"a": 1}']
    details = reply["usage"]["completion_tokens_details"]
    ended = len(ids("</think>\n\n"))
    assert 0 <= details["reasoning_tokens"] - len(ids("I think of it.\n")) <= ended


async def test_min_tokens_applies_to_the_complete_reply() -> None:
    backend = FakeBackend(THOUGHTS, CALL, REST)
    await answer(backend, min_tokens=20, **THINKING)
    generated = len(ids("I think of it.\n")) + len(WRITTEN)
    assert [request.sampling.min_tokens or 0 for request in backend.asked] == [
        20,
        20 - generated,
        0,
    ]


@pytest.mark.parametrize("most", range(1, 40))
async def test_a_reply_ends_at_its_last_token_in_whichever_phase_that_is(most: int) -> None:
    backend = FakeBackend(THOUGHTS, CALL, AND_ANOTHER, CALL, REST)
    reply = await answer(backend, max_tokens=most, **THINKING)
    assert reply["usage"]["completion_tokens"] <= most
    whole = len(ids("I think of it.\n")) + len(WRITTEN) + 2 * len(CALL) + 20
    if most < whole:
        assert reply["choices"][0]["finish_reason"] == "length"
    assert sum(request.max_tokens == 0 for request in backend.asked) == 0


@pytest.mark.parametrize("phase", [0, 1, 2])
async def test_a_client_that_leaves_in_any_phase_ends_its_generation(phase: int) -> None:
    replies = [THOUGHTS, CALL, REST]
    backend = Stopping(*replies, phase=phase)
    async with application(served(backend, context=1024)) as app:
        call = Call(app, CHAT, {**FORCED, **THINKING, "stream": True})
        running = asyncio.create_task(call.run())
        await asyncio.wait_for(backend.stuck.wait(), 5)
        assert backend.running == 1
        call.leave()
        await asyncio.wait_for(backend.idle.wait(), 1)
        await running


class Stopping(FakeBackend):
    """Generates nothing once a phase has started."""

    def __init__(self, *replies: Any, phase: int) -> None:
        super().__init__(*replies)
        self._phase = phase

    async def _pause(self, at: int) -> None:
        if len(self.asked) - 1 == self._phase:
            self.stops_at = at
        await super()._pause(at)


async def test_choices_have_phases_of_their_own() -> None:
    backend = FakeBackend(CALL)
    reply = await answer(backend, n=3, parallel_tool_calls=False, **THINKING)
    assert [choice["index"] for choice in reply["choices"]] == [0, 1, 2]


@pytest.mark.parametrize("stream", [False, True])
async def test_every_token_that_the_model_chose_has_its_logprob(stream: bool) -> None:
    backend = FakeBackend(ids("It is 5."))
    body = {"messages": user("Hi"), "logprobs": True, "stream": stream}
    async with server(served(backend)) as client:
        response = await client.post(CHAT, json={**body, "tools": [STRICT]})
    replies = events(response.text)[:-1] if stream else [response.json()]
    entries = [
        entry
        for reply in replies
        for choice in reply["choices"]
        for entry in (choice["logprobs"] or {"content": ()})["content"] or ()
    ]
    assert "".join(entry["token"] for entry in entries) == "It is 5."


async def test_a_stop_string_in_the_text_ends_a_reply_in_phases() -> None:
    backend = FakeBackend(ids("It is 5. And so on."))
    reply = await answer(backend, tools=[STRICT], tool_choice="auto", stop=["And"])
    assert reply["choices"][0]["message"]["content"] == "It is 5. "
    assert reply["choices"][0]["finish_reason"] == "stop"


async def test_reasoning_ends_where_it_says_so_when_other_ends_are_ignored() -> None:
    backend = FakeBackend(THOUGHTS, CALL, REST)
    reply = await answer(backend, ignore_eos=True, parallel_tool_calls=False, **THINKING)
    assert arguments(reply["choices"][0]) == ['{"a": 1}']


@pytest.mark.parametrize("ending", ["I write </b>.\n</think>\n\nIt is", "I write </b>."])
async def test_reasoning_ends_at_its_closing_tag_even_inside_a_token(ending: str) -> None:
    tokenizer = Tokenizer.load(catalog.DIRECTORY / "checkpoints/demo-llama")
    backend = FakeBackend(
        tokenizer.encode(ending), tokenizer.encode('{"name": "f", "arguments": {"a": 1}}')
    )
    model = replace(served(backend, context=1024), tokenizer=tokenizer)
    async with server(model) as client:
        body = {**FORCED, **THINKING, "parallel_tool_calls": False}
        choice = (await client.post(CHAT, json=body)).json()["choices"][0]
    assert choice["message"]["reasoning_content"].strip() == "I write </b>."
    assert arguments(choice) == ['{"a": 1}']
    assert tokenizer.decode(list(backend.asked[1].prompt_ids)).endswith("</think>\n\n<tool_call>\n")


class Refusing(FakeBackend):
    """Rejects a guide when it receives one."""

    async def _pause(self, at: int) -> None:
        if self.asked[-1].sampling.guide is not None and at == 1:
            raise GenerationFailed("the guide cannot be followed any further")
        await super()._pause(at)


@pytest.mark.parametrize("thinking", [{}, THINKING])
async def test_a_guide_that_fails_late_is_the_clients_mistake_too(thinking: Any) -> None:
    async with server(served(Refusing(THOUGHTS if thinking else CALL, CALL))) as client:
        whole = await client.post(CHAT, json={**FORCED, **thinking})
        stream = await client.post(CHAT, json={**FORCED, **thinking, "stream": True})
    assert whole.status_code == 400
    assert whole.json()["error"]["param"] == "tools"
    # Behind reasoning the stream has started.
    last = events(stream.text)[-1] if thinking else stream.json()
    assert last["error"]["type"] == "invalid_request_error"
