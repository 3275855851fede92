"""The gateway separates reasoning and tool calls that a server leaves in its text."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from fakes.chat_server import CHAT, DONE, USAGE, chat_server, chunk, completion, event, texts
from gateway.harness import events, server, user
from hypothesis import given
from hypothesis import strategies as st

from enginix.backends.openai.choice import Choice
from enginix.backends.openai.server import OpenAIBackend
from enginix.backends.openai.sse import EventReader, data_of
from enginix.backends.openai.translate import ChatCompletion, Completion
from enginix.chat.events import Message, collect
from enginix.errors import EnginixError, GenerationFailed
from enginix.gateway.api.chat_reply import ChatStream
from enginix.gateway.api.messages_reply import MessageStream
from enginix.gateway.models.registry import PassthroughModel
from enginix.gateway.prompt.chat_request import ChatGeneration
from enginix.generation.reply import Finished, Logprobs, ReplyFormat

LOOK = {
    "type": "function",
    "function": {"name": "look", "parameters": {"properties": {"at": {"type": "string"}}}},
}
SAID = (
    "<think>\nWhere is 家 😀?\n</think>\n\nI look.\n"
    '<tool_call>\n{"name": "look", "arguments": {"at": "家 \\"x\\""}}\n</tool_call>'
)
FORMAT = ReplyFormat("think-tags", "hermes-json", definitions=(LOOK,))


def relayed(url: str, **options: Any) -> PassthroughModel:
    formats = {"reasoning": "think-tags", "tools": "hermes-json", **options}
    return PassthroughModel("ours", OpenAIBackend("stand-in", url, "theirs"), "vllm", **formats)


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "ours", "messages": user("Hi"), "tools": [LOOK], **fields}


def assembled(seen: list[Any]) -> dict[str, Any]:
    """The message that a chat's chunks add up to for a client."""
    message: dict[str, Any] = {"content": "", "reasoning_content": "", "tool_calls": []}
    for each in seen:
        for choice in each["choices"]:
            delta = choice["delta"]
            message["content"] += delta.get("content") or ""
            message["reasoning_content"] += delta.get("reasoning_content") or ""
            for call in delta.get("tool_calls", ()):
                if call["index"] == len(message["tool_calls"]):
                    message["tool_calls"].append({"id": call["id"], **call["function"]})
                else:
                    place = message["tool_calls"][call["index"]]
                    place["arguments"] += call["function"]["arguments"]
            message["finish_reason"] = choice["finish_reason"]
    return message


async def test_a_chat_has_its_reasoning_and_calls_separated() -> None:
    said = completion(*texts(*(SAID[start : start + 3] for start in range(0, len(SAID), 3))))
    async with chat_server(said) as (stand_in, url), server(relayed(url)) as client:
        streamed = await client.post(CHAT, json=chat(stream=True, x_unknown=[1]))
        whole = (await client.post(CHAT, json=chat(x_unknown=[1]))).json()
    *seen, done = events(streamed.text)
    assert done == "[DONE]"
    message = assembled(seen)
    (call,) = message["tool_calls"]
    assert message["reasoning_content"] == "Where is 家 😀?"
    assert message["content"].strip() == "I look."
    assert (call["name"], json.loads(call["arguments"])) == ("look", {"at": '家 "x"'})
    assert message["finish_reason"] == "tool_calls"
    own = whole["choices"][0]["message"]
    assert own["content"] == message["content"]
    assert own["reasoning_content"] == message["reasoning_content"]
    assert own["tool_calls"][0]["function"]["arguments"] == call["arguments"]
    assert whole["model"] == "ours"
    assert whole["usage"]["prompt_tokens"] == 11
    first, second = stand_in.asked
    assert first == second
    # What the server may know and we do not is its own to judge.
    assert first[1]["x_unknown"] == [1]
    assert (first[1]["stream"], first[1]["model"]) == (True, "theirs")
    # It would refuse "auto", for it has no parser; the model sees its tools all the same.
    assert first[1]["tool_choice"] == "none"


async def test_a_message_and_a_response_have_them_separated_too() -> None:
    said = completion(*texts(SAID[:50], SAID[50:]))
    tool = {"name": "look", "input_schema": {}}
    async with chat_server(said) as (stand_in, url), server(relayed(url)) as client:
        # It may have the routes: what they say would not be told apart.
        stand_in.routes |= {"/v1/messages": lambda _: b"{}", "/v1/responses": lambda _: b"{}"}
        asked = {"model": "ours", "max_tokens": 9, "messages": user("Hi"), "tools": [tool]}
        message = (await client.post("/v1/messages", json=asked)).json()
        function = {"type": "function", "name": "look"}
        asked = {"model": "ours", "input": "Hi", "tools": [function]}
        response = (await client.post("/v1/responses", json=asked)).json()
    assert [block["type"] for block in message["content"]] == ["thinking", "text", "tool_use"]
    assert message["stop_reason"] == "tool_use"
    kinds = [item["type"] for item in response["output"]]
    assert kinds == ["reasoning", "message", "function_call"]


async def test_what_the_server_separated_itself_passes_unchanged() -> None:
    call = {"index": 0, "id": "c9", "function": {"name": "look", "arguments": '{"at":1}'}}
    said = completion({"reasoning_content": "Hm."}, *texts("Yes."), {"tool_calls": [call]})
    async with chat_server(said) as (_, url), server(relayed(url)) as client:
        whole = (await client.post(CHAT, json=chat())).json()
    message = whole["choices"][0]["message"]
    assert message["reasoning_content"] == "Hm."
    assert message["content"] == "Yes."
    assert message["tool_calls"][0]["id"] == "c9"
    assert whole["choices"][0]["finish_reason"] == "tool_calls"


async def test_several_choices_with_their_log_probabilities() -> None:
    other = {"token": "No", "logprob": -1.5, "bytes": [78]}
    entry = {"token": "Yes", "logprob": -0.5, "bytes": [89], "top_logprobs": [other]}
    said = [
        chunk({"content": "Yes"}, logprobs={"content": [entry]}),
        chunk({"content": "No"}, index=1),
        chunk({}, "stop", index=1),
        chunk({}, "length"),
        event({"choices": [], "usage": USAGE}),
        DONE,
    ]
    async with chat_server(said) as (_, url), server(relayed(url)) as client:
        asked = chat(n=2, logprobs=True, top_logprobs=1)
        whole = (await client.post(CHAT, json=asked)).json()
        many = await client.post(CHAT, json=chat(n=10**6))
    first, second = whole["choices"]
    assert (first["message"]["content"], first["finish_reason"]) == ("Yes", "length")
    assert first["logprobs"]["content"] == [entry]
    assert (second["message"]["content"], second["finish_reason"]) == ("No", "stop")
    assert whole["usage"]["completion_tokens"] == 7
    assert many.status_code == 400


@pytest.mark.parametrize(
    ("fields", "reasons"),
    [
        ({}, True),
        ({"reasoning_effort": "high"}, True),
        ({"reasoning_effort": "none"}, False),
        ({"chat_template_kwargs": {"enable_thinking": False}}, False),
        ({"response_format": {"type": "json_object"}}, False),
        ({"tool_choice": "required"}, False),
    ],
    ids=["plain", "effort", "no effort", "switched off", "guided", "forced"],
)
async def test_a_template_that_starts_the_reasoning_does_so_by_default(
    fields: dict[str, Any], reasons: bool
) -> None:
    said = completion(*texts("So be it", ".</think>", "Yes."))
    async with chat_server(said) as (_, url), server(relayed(url, starts_inside=True)) as client:
        whole = (await client.post(CHAT, json=chat(**fields))).json()
    message = whole["choices"][0]["message"]
    if reasons:
        assert (message["reasoning_content"], message["content"]) == ("So be it.", "Yes.")
    else:
        assert message["content"] == "So be it.</think>Yes."


async def test_completions_pass_unchanged() -> None:
    async with chat_server() as (stand_in, url), server(relayed(url)) as client:
        answer = b'{"model":"theirs","choices":[{"text":"<think>"}]}'
        stand_in.routes["/v1/completions"] = lambda _: answer
        said = await client.post("/v1/completions", json={"model": "ours", "prompt": "Hi"})
    assert said.json() == {"model": "ours", "choices": [{"text": "<think>"}]}


def generation() -> ChatGeneration:
    model = PassthroughModel("ours", OpenAIBackend("x", "http://127.0.0.1:1", "theirs"), "vllm")
    return ChatGeneration("x", model, ChatCompletion({}, FORMAT))


def message_of(pieces: list[bytes]) -> tuple[Message, Finished]:
    """The message that a stream adds up to, however it is split."""
    completed, stream = Completion(FORMAT, 1, "x"), EventReader()
    said = []
    for piece in pieces:
        completed.read(data_of(stream.feed(piece)))
        said += [event for _, events, _ in completed.take() for event in events]
    completed.read(data_of(stream.finish()))
    said += [event for _, events, _ in completed.take() for event in events]
    said += [event for _, events, _ in completed.finish() for event in events]
    finished = said.pop()
    assert isinstance(finished, Finished)
    return collect(each for each in said if not isinstance(each, Logprobs | Finished)), finished


def cut(data: Any, places: list[int]) -> list[Any]:
    edges = [0, *sorted({place % len(data) for place in places} - {0}), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


KEYS = st.sampled_from(
    [
        *("choices", "index", "delta", "content", "reasoning", "tool_calls", "id", "function"),
        *("name", "arguments", "finish_reason", "stop_reason", "logprobs", "logprob", "usage"),
        *("completion_tokens", "prompt_tokens", "completion_tokens_details", "error", "message"),
    ]
)
cuts = st.lists(st.integers(0, 10**6), max_size=12)


@given(texts_at=cuts, bytes_at=cuts, line_break=st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_any_cutting_of_the_text_and_of_the_stream_gives_the_same_message(
    texts_at: list[int], bytes_at: list[int], line_break: bytes
) -> None:
    stream = b"".join(completion(*texts(*cut(SAID, texts_at)))).replace(b"\n", line_break)
    message, finished = message_of(cut(stream, bytes_at))
    assert message.reasoning == "Where is 家 😀?"
    assert message.content.strip() == "I look."
    assert json.loads(message.tool_calls[0].arguments) == {"at": '家 "x"'}
    assert (finished.reason, finished.completion_tokens) == ("tool_calls", 7)


@given(text=st.text(max_size=60), places=cuts)
def test_a_text_without_any_format_comes_through_unchanged(text: str, places: list[int]) -> None:
    said = completion(*texts(*(cut(text, places) if text else [])))
    completed = Completion(ReplyFormat(), 1, "x")
    completed.read(data_of(EventReader().feed(b"".join(said))))
    spoken = [each for _, events, _ in completed.take() for each in events]
    assert (
        collect(each for each in spoken if not isinstance(each, Logprobs | Finished)).content
        == text
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
CHUNKS = st.fixed_dictionaries(
    {}, optional={"choices": st.lists(JSON, max_size=2) | JSON, "usage": JSON, "error": JSON}
)


@given(chunks=st.lists(CHUNKS | JSON, max_size=4))
def test_any_bytes_from_a_server_are_an_answer_or_its_failure(chunks: list[Any]) -> None:
    completed = Completion(FORMAT, 1, "x")
    with suppress(EnginixError):
        completed.read([json.dumps(chunk).encode() for chunk in chunks])
        for _, events, _ in [*completed.take(), *completed.finish()]:
            ChatStream(generation()).encode(0, events)
            MessageStream(generation()).encode(0, events)


CALLS = {
    "all at once": [[{"id": "a", "function": {"name": "f", "arguments": '{"x":1}'}}]],
    "an object": [[{"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]],
    "name first": [
        [{"index": 0, "id": "a", "function": {"name": "f"}}],
        [{"index": 0, "function": {"arguments": '{"x":1}'}}],
    ],
    "name last": [
        [{"index": 0, "id": "a"}],
        [{"index": 0, "function": {"name": "", "arguments": '{"x"'}}],
        [{"index": 0, "function": {"name": "f", "arguments": ":1}"}}],
    ],
    "all repeated": [
        [{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x"'}}],
        [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ":1}"}}],
    ],
    "numbered from seven": [
        [{"index": 7, "id": "a", "function": {"name": "f", "arguments": '{"x":1}'}}]
    ],
}


@pytest.mark.parametrize("form", CALLS)
def test_calls_are_understood_however_a_server_sends_them(form: str) -> None:
    choice = Choice(ReplyFormat())
    said = [each for calls in CALLS[form] for each in choice.read({"delta": {"tool_calls": calls}})]
    said += choice.read({"delta": {}, "finish_reason": "stop"})
    (call,) = collect(said).tool_calls  # type: ignore[arg-type]
    assert (call.id, call.name, json.loads(call.arguments)) == ("a", "f", {"x": 1})
    assert choice.finished(1, 1, 0).reason == "tool_calls"


def test_a_call_without_an_id_gets_one() -> None:
    choice = Choice(ReplyFormat())
    said = choice.read({"delta": {"tool_calls": [{"index": 0, "function": {"name": "f"}}]}})
    said += choice.break_off()
    (call,) = collect(said).tool_calls  # type: ignore[arg-type]
    assert call.id.startswith("call_")


def call_of(id: str | None, name: str | None, arguments: Any, **more: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    fields = {"id": id, **more, "function": {k: v for k, v in function.items() if v is not None}}
    return {name: value for name, value in fields.items() if value is not None}


A, B = '{"path":"a"}', '{"path":"b"}'
TWO = {
    "whole": [[call_of("1", "f", A, index=0)], [call_of("2", "f", B, index=0)]],
    "in one delta": [[call_of("1", "f", A, index=0), call_of("2", "f", B, index=0)]],
    "in pieces": [
        [call_of("1", "f", "", index=0)],
        [call_of("1", None, A[:4], index=0)],
        [call_of(None, None, A[4:], index=0)],
        [call_of("2", "f", B[:1], index=0)],
        [call_of("2", None, B[1:], index=0)],
    ],
    "id before name": [
        [call_of("1", "f", A, index=0)],
        [call_of("2", None, None, index=0)],
        [call_of(None, "f", B, index=0)],
    ],
    "without ids": [[call_of(None, "f", A, index=0)], [call_of(None, "f", B, index=0)]],
    "without numbers": [[call_of("1", "f", A)], [call_of("2", "f", B)]],
    "without both": [
        [call_of(None, "f", A)],
        [call_of(None, "f", B[:5])],
        [call_of(None, None, B[5:])],
    ],
    "an id without a number on every piece": [
        [call_of("1", "f", A[:3])],
        [call_of("1", None, A[3:])],
        [call_of("2", "f", B)],
    ],
}


@pytest.mark.parametrize("form", TWO)
def test_two_calls_under_one_number_are_two(form: str) -> None:
    choice = Choice(ReplyFormat())
    said = [each for calls in TWO[form] for each in choice.read({"delta": {"tool_calls": calls}})]
    said += choice.read({"delta": {}, "finish_reason": "tool_calls"})
    first, second = collect(said).tool_calls  # type: ignore[arg-type]
    assert (first.arguments, second.arguments) == (A, B)
    assert first.id != second.id
    assert choice.finished(1, 1, 0).reason == "tool_calls"


def test_a_new_id_for_every_chunk_does_not_start_a_new_call() -> None:
    choice = Choice(ReplyFormat())
    said: list[Any] = []
    for number, piece in enumerate(("", '{"x"', ":1", "}", "")):
        call = call_of(f"r{number}", "f" if not number else None, piece, index=0)
        said += choice.read({"delta": {"tool_calls": [call]}})
    (call,) = collect(said + choice.break_off()).tool_calls
    assert (call.id, call.arguments) == ("r0", '{"x":1}')


@pytest.mark.parametrize(
    ("arguments", "object"),
    [(None, "{}"), ("", "{}"), (" ", "{}"), ("null", "{}"), ('["Paris"]', '{"": ["Paris"]}'),
     ('"{\\"a\\": 1}"', '{"a": 1}'), ([1], '{"": [1]}'), ('"Paris"', '{"": "Paris"}')],
)  # fmt: skip
@pytest.mark.parametrize("behind", [False, True], ids=["last", "followed"])
def test_arguments_that_are_none_or_no_object_become_one(
    arguments: Any, object: str, behind: bool
) -> None:
    choice = Choice(ReplyFormat())
    said = choice.read({"delta": {"tool_calls": [call_of("1", "f", arguments, index=0)]}})
    if behind:
        said += choice.read({"delta": {"tool_calls": [call_of("2", "g", A, index=1)]}})
    said += choice.read({"delta": {}, "finish_reason": "tool_calls"})
    assert collect(said).tool_calls[0].arguments == object  # type: ignore[arg-type]
    assert choice.finished(1, 1, 0).reason == "tool_calls"


@pytest.mark.parametrize(
    ("call", "left"),
    [
        (call_of("1", "f", None, index=0), []),
        (call_of("1", "f", "", index=0), []),
        (call_of("1", None, None, index=0), []),
        (call_of("1", "f", '["Par', index=0), []),
        (call_of("1", "f", '{"a": "Par', index=0), ['{"a": "Par']),
        (call_of("1", "f", A, index=0), [A]),
    ],
)
def test_a_call_truncated_by_a_server_is_not_completed(
    call: dict[str, Any], left: list[str]
) -> None:
    choice = Choice(ReplyFormat())
    said = choice.read({"delta": {"tool_calls": [call]}, "finish_reason": "length"})
    message = collect(said)  # type: ignore[arg-type]
    assert [each.arguments for each in message.tool_calls] == left
    assert choice.finished(1, 1, 0).reason == "length"


def test_a_server_that_claims_calls_and_sent_half_a_one_is_not_believed() -> None:
    choice = Choice(ReplyFormat())
    call = call_of("1", "f", '{"a": "Par', index=0)
    choice.read({"delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"})
    assert choice.finished(1, 1, 0).reason == "stop"


@pytest.mark.parametrize(
    ("calls", "words"),
    [
        ([{"index": 0, "id": "a"}], "without a name"),
        (
            [
                {"index": 0, "id": "a", "function": {"name": "f"}},
                {"index": 1, "id": "b", "function": {"name": "g"}},
                {"index": 0, "function": {"arguments": "{}"}},
            ],
            "mixed the arguments",
        ),
    ],
    ids=["nameless", "mixed"],
)
def test_ambiguous_calls_are_an_error_and_not_guessed(calls: list[Any], words: str) -> None:
    choice = Choice(ReplyFormat())
    with pytest.raises(GenerationFailed, match=words):
        choice.read({"delta": {"tool_calls": calls}, "finish_reason": "stop"})


async def test_concurrent_translated_streams_keep_their_texts_separate() -> None:
    async with chat_server() as (stand_in, url), server(relayed(url)) as client:
        stand_in.routes[CHAT] = lambda asked: completion(
            *texts(*asked["messages"][0]["content"] * 20)
        )
        words = [f"word{number} " for number in range(16)]

        async def say(word: str) -> str:
            asked = {"model": "ours", "messages": user(word), "stream": True}
            return str(
                assembled(events((await client.post(CHAT, json=asked)).text)[:-1])["content"]
            )

        assert await asyncio.gather(*map(say, words)) == [word * 20 for word in words]
