"""Dialects that a model's server does not support, translated to its chat completions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import openai
import pytest
from fakes.chat_server import CHAT, chat_server, chunk, completion, event, texts
from fakes.trtllm_serve.server import TrtllmServer
from gateway.harness import Call, application, events, server, user

from enginix.backends.openai.server import LACK_SECONDS, OpenAIBackend
from enginix.gateway.models.registry import PassthroughModel

MESSAGES, RESPONSES, COUNT = "/v1/messages", "/v1/responses", "/v1/messages/count_tokens"
UPSTREAM = "models/Their-30B"
HELLO = completion(*texts("Hel", "lo", "!"))
REASONED = completion(
    {"reasoning_content": "Let me "}, {"reasoning_content": "think."}, *texts("Hel", "lo")
)
CALL = completion(
    {"content": "I look."},
    {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "look"}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '{"at": '}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '"home"}'}}]},
    {"tool_calls": [{"index": 1, "id": "c2", "function": {"name": "rest", "arguments": "{}"}}]},
    reason="tool_calls",
)
LOOK = {"type": "object", "properties": {"at": {"type": "string"}}}


def relayed(url: str, engine: str = "trtllm") -> PassthroughModel:
    return PassthroughModel("ours", OpenAIBackend("stand-in", url, UPSTREAM), engine)


def message(**fields: Any) -> dict[str, Any]:
    return {"model": "ours", "max_tokens": 50, "messages": user("Hi"), **fields}


def response(**fields: Any) -> dict[str, Any]:
    return {"model": "ours", "input": "Hi", **fields}


async def test_a_message_is_streamed_from_chat_completions() -> None:
    async with chat_server(REASONED) as (stand_in, url), server(relayed(url)) as client:
        answer = await client.post(MESSAGES, json=message(stream=True))
    seen = events(answer.text)
    assert [each["type"] for each in seen if each["type"] != "ping"] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert seen[0]["message"]["model"] == "ours"
    assert seen[-2]["delta"]["stop_reason"] == "end_turn"
    assert seen[-2]["usage"] == {"input_tokens": 11, "output_tokens": 7}
    (asked,) = stand_in.asked_at(CHAT)
    assert asked == {
        "model": UPSTREAM,
        "messages": user("Hi"),
        "max_tokens": 50,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_a_message_without_streaming_is_the_concatenated_stream() -> None:
    async with chat_server(CALL) as (stand_in, url), server(relayed(url)) as client:
        tool = {"name": "look", "description": "Looks.", "input_schema": LOOK}
        answer = (await client.post(MESSAGES, json=message(tools=[tool]))).json()
    assert answer["content"] == [
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "c1", "name": "look", "input": {"at": "home"}},
        {"type": "tool_use", "id": "c2", "name": "rest", "input": {}},
    ]
    assert answer["stop_reason"] == "tool_use"
    (asked,) = stand_in.asked_at(CHAT)
    assert asked["tools"][0]["function"]["name"] == "look"
    assert asked["tool_choice"] == "auto"


async def test_a_response_is_streamed_from_chat_completions_and_remembered() -> None:
    async with chat_server(REASONED) as (stand_in, url), server(relayed(url)) as client:
        answer = await client.post(RESPONSES, json=response(stream=True))
        seen = events(answer.text)
        done = seen[-1]["response"]
        again = response(previous_response_id=done["id"], input="And?")
        second = await client.post(RESPONSES, json=again)
    assert seen[-1]["type"] == "response.completed"
    assert [each["sequence_number"] for each in seen] == list(range(len(seen)))
    assert [item["type"] for item in done["output"]] == ["reasoning", "message"]
    assert (done["usage"]["input_tokens"], done["usage"]["output_tokens"]) == (11, 7)
    assert second.json()["output"][1]["content"][0]["text"] == "Hello"
    assert [said["role"] for said in stand_in.asked_at(CHAT)[1]["messages"]] == [
        "user",
        "assistant",
        "user",
    ]


HISTORY = [
    {"role": "user", "content": "Hi"},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": ""},
            {"type": "tool_use", "id": "c1", "name": "look", "input": {"at": "home"}},
        ],
    },
    {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "empty"}],
    },
]


async def test_the_history_is_sent_back_as_chat_messages() -> None:
    async with chat_server(HELLO) as (stand_in, url), server(relayed(url)) as client:
        await client.post(MESSAGES, json=message(messages=HISTORY))
    (asked,) = stand_in.asked_at(CHAT)
    call = {"name": "look", "arguments": '{"at":"home"}'}
    assert asked["messages"] == [
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "Hm.",
            "tool_calls": [{"id": "c1", "type": "function", "function": call}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "empty"},
    ]


@asynccontextmanager
async def trtllm(reasoning_parser: str | None = None) -> AsyncIterator[tuple[TrtllmServer, str]]:
    """The stand-in for trtllm-serve, which rejects unknown fields."""
    stand_in = TrtllmServer("theirs", reasoning_parser)
    listening = await asyncio.start_server(stand_in.serve, "127.0.0.1", 0)
    try:
        yield stand_in, f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        stand_in.close()


async def test_a_server_that_refuses_reasoning_in_messages_gets_none() -> None:
    said = {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}
    chat = {"model": "ours", "messages": [*user("Hi"), said, *user("And?")]}
    asked = [
        (MESSAGES, message(messages=HISTORY)),
        (MESSAGES, message(messages=HISTORY, stream=True)),
        (CHAT, chat),
    ]
    async with trtllm("deepseek-r1") as (stand_in, url):
        answers = []
        for questions in (asked, [(CHAT, chat), (CHAT, {**chat, "stream": True})]):
            async with server(relayed(url)) as client:
                answers += [await client.post(path, json=body) for path, body in questions]
    assert [answer.status_code for answer in answers] == [200] * 5
    assert all("Paris" in answer.text for answer in answers)
    assert not any("reasoning_content" in str(body) for body in stand_in.asked)


async def test_trtllm_serve_gets_every_option_it_supports() -> None:
    wishes = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "stop_sequences": ["END"],
        "system": "Be brief.",
        "tools": [{"name": "look", "description": "Looks.", "input_schema": LOOK}],
        "thinking": {"type": "disabled"},
        "output_config": {"format": {"type": "json_schema", "schema": LOOK}},
    }
    shaped = {"format": {"type": "json_schema", "name": "x", "schema": LOOK}}
    tools = [{"type": "function", "name": "look", "parameters": LOOK, "strict": True}]
    async with trtllm() as (_, url), server(relayed(url)) as client:
        first = await client.post(MESSAGES, json=message(**wishes))
        asked = response(text=shaped, reasoning={"effort": "xhigh"}, top_p=0, tools=tools)
        second = await client.post(RESPONSES, json={**asked, "parallel_tool_calls": False})
    assert first.json()["content"][0]["text"] == "The capital of France is Paris."
    assert first.json()["usage"]["output_tokens"] == 7
    assert second.json()["output"][0]["content"][0]["text"] == "The capital of France is Paris."


async def test_every_option_is_sent_under_its_chat_completions_name() -> None:
    wishes = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "stop_sequences": ["END"],
        "tools": [{"name": "look", "input_schema": LOOK}],
        "tool_choice": {"type": "tool", "name": "look"},
        "thinking": {"type": "disabled"},
        "output_config": {"format": {"type": "json_schema", "schema": LOOK}},
    }
    async with chat_server(HELLO) as (stand_in, url), server(relayed(url, "vllm")) as client:
        await client.post(MESSAGES, json=message(**wishes))
        shaped = {"format": {"type": "json_object"}}
        await client.post(
            RESPONSES,
            json=response(
                text=shaped, reasoning={"effort": "minimal"}, top_p=0, instructions="Be."
            ),
        )
    first, second = stand_in.asked_at(CHAT)
    assert (first["temperature"], first["top_p"], first["top_k"]) == (0.5, 0.9, 40)
    # Servers look for it in the reasoning and in calls, too.
    assert "stop" not in first
    assert first["tool_choice"] == {"type": "function", "function": {"name": "look"}}
    assert first["response_format"]["json_schema"]["schema"] == LOOK
    assert first["chat_template_kwargs"] == {"enable_thinking": False}
    assert second["response_format"] == {"type": "json_object"}
    assert second["reasoning_effort"] == "low"
    assert second["temperature"] == 0
    assert "top_p" not in second
    assert second["messages"][0] == {"role": "system", "content": "Be."}


PIXEL = "iVBORw0KGgo="
SHOWN = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    {"type": "text", "text": "Say."},
]


async def test_images_are_shown_to_a_server_that_may_see_them() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    blocks = [SHOWN[0], {"type": "image", "source": source}, SHOWN[2]]
    parts = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"},
        {"type": "input_text", "text": "Say."},
    ]
    broken = [{"type": "image", "source": {"type": "file", "file_id": "x"}}]
    async with chat_server(HELLO) as (stand_in, url), server(relayed(url)) as client:
        await client.post(MESSAGES, json=message(messages=[{"role": "user", "content": blocks}]))
        await client.post(RESPONSES, json=response(input=[{"role": "user", "content": parts}]))
        asked = message(messages=[{"role": "user", "content": broken}])
        refused = (await client.post(MESSAGES, json=asked)).json()
    first, second = stand_in.asked_at(CHAT)
    assert first["messages"] == second["messages"] == [{"role": "user", "content": SHOWN}]
    assert "messages[0].content[0].source: expected base64" in refused["error"]["message"]


async def test_vllm_continues_a_prefilled_answer() -> None:
    said = [*user("Hi"), {"role": "assistant", "content": "Hel"}]
    async with chat_server(HELLO) as (stand_in, url), server(relayed(url, "vllm")) as client:
        await client.post(MESSAGES, json=message(messages=said))
    (asked,) = stand_in.asked_at(CHAT)
    assert (asked["add_generation_prompt"], asked["continue_final_message"]) == (False, True)


async def test_a_stop_sequence_that_ended_the_answer_is_named() -> None:
    answer = completion(*texts("Hello"), stop_reason="END")
    async with chat_server(answer) as (_, url), server(relayed(url)) as client:
        said = (await client.post(MESSAGES, json=message(stop_sequences=["END"]))).json()
    assert (said["stop_reason"], said["stop_sequence"]) == ("stop_sequence", "END")


async def test_an_answer_cut_off_by_its_length_says_so() -> None:
    answer = completion(*texts("He"), reason="length")
    async with chat_server(answer) as (_, url), server(relayed(url)) as client:
        said = (await client.post(MESSAGES, json=message())).json()
        done = (await client.post(RESPONSES, json=response())).json()
    assert said["stop_reason"] == "max_tokens"
    assert done["incomplete_details"] == {"reason": "max_output_tokens"}


async def test_one_call_at_a_time_ends_the_answer_before_the_second() -> None:
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    tools = [{"name": "look", "input_schema": LOOK}]
    async with chat_server(CALL) as (_, url), server(relayed(url)) as client:
        asked = message(tools=tools, tool_choice=choice)
        said = (await client.post(MESSAGES, json=asked)).json()
    assert [block["type"] for block in said["content"]] == ["text", "tool_use"]
    assert said["stop_reason"] == "tool_use"


async def test_more_tokens_than_fit_means_as_many_as_fit() -> None:
    words = b'{"message":"max_tokens is too large: 50. The maximum context length is 32 tokens"}'
    async with chat_server() as (stand_in, url), server(relayed(url)) as client:

        def answer(asked: dict[str, Any]) -> Any:
            stand_in.status = 400
            return words if "max_tokens" in asked else HELLO

        stand_in.routes[CHAT] = answer
        said = (await client.post(MESSAGES, json=message())).json()
    assert said["content"] == [{"type": "text", "text": "Hello!"}]


async def test_chunks_count_as_tokens_for_a_server_without_usage() -> None:
    answer = completion({"reasoning": "Hm"}, *texts("Hel", "lo"), usage=None)
    async with chat_server(answer) as (_, url), server(relayed(url)) as client:
        said = (await client.post(RESPONSES, json=response())).json()
    assert said["usage"]["output_tokens"] == 3
    assert said["usage"]["output_tokens_details"] == {"reasoning_tokens": 1}


async def test_the_servers_counts_reach_the_metrics_and_the_connection_is_kept() -> None:
    async with chat_server(HELLO) as (stand_in, url), server(relayed(url)) as client:
        for _ in range(3):
            await client.post(MESSAGES, json=message())
        metrics = (await client.get("/metrics")).text
    assert 'enginix_prompt_tokens_total{model="ours"} 33.0' in metrics
    assert 'enginix_generated_tokens_total{model="ours"} 21.0' in metrics
    assert stand_in.connections == 1


async def test_a_server_that_speaks_the_dialect_is_passed_through_as_it_is() -> None:
    own = json.dumps({"type": "message", "model": UPSTREAM, "content": [{"x": 1}]}).encode()
    async with chat_server() as (stand_in, url), server(relayed(url)) as client:
        stand_in.routes[MESSAGES] = lambda _: own
        said = (await client.post(MESSAGES, json=message(x_unknown=1))).json()
    assert said == {"type": "message", "model": "ours", "content": [{"x": 1}]}
    assert stand_in.asked == [(MESSAGES, {**message(x_unknown=1), "model": UPSTREAM})]


async def test_a_missing_route_is_retried_once_a_minute() -> None:
    now = 0.0
    async with chat_server(HELLO) as (stand_in, url):
        backend = OpenAIBackend("stand-in", url, UPSTREAM, clock=lambda: now)
        async with server(PassthroughModel("ours", backend, "trtllm")) as client:
            for moment in (0.0, 1.0, LACK_SECONDS - 1, LACK_SECONDS + 1):
                now = moment
                assert (await client.post(MESSAGES, json=message())).status_code == 200
    assert len(stand_in.asked_at(MESSAGES)) == 2
    assert len(stand_in.asked_at(CHAT)) == 4


async def test_a_server_that_was_away_is_retried_at_once() -> None:
    async with chat_server(HELLO) as (_, url), server(model := relayed(url)) as client:
        await client.post(MESSAGES, json=message())
        assert model.backend.lacks(MESSAGES)
    backend = OpenAIBackend("stand-in", url, UPSTREAM)
    backend.mark_unsupported(MESSAGES)
    async with server(PassthroughModel("ours", backend, "trtllm")) as client:
        assert (await client.post(MESSAGES, json=message())).status_code == 503
    assert not backend.lacks(MESSAGES)


@pytest.mark.parametrize(
    "refusal",
    [
        (405, b'{"detail":"Method Not Allowed"}'),
        (501, b""),
        (404, b"404 page not found"),
        (404, b"<html>Cannot POST /v1/messages</html>"),
        (404, b'{"error":{"message":"File Not Found","code":404}}'),
        (404, b'{"error":{"message":"Invalid URL (POST /v1/messages)"}}'),
    ],
    ids=["405", "501", "go", "express", "llama-server", "openai"],
)
async def test_every_way_to_lack_a_route_is_understood(refusal: tuple[int, bytes]) -> None:
    async with chat_server() as (stand_in, url), server(relayed(url)) as client:

        def answer(_: Any) -> Any:
            stand_in.status = refusal[0]
            return refusal[1]

        stand_in.routes |= {MESSAGES: answer, CHAT: lambda _: HELLO}
        said = await client.post(MESSAGES, json=message())
    assert said.json()["content"][0]["text"] == "Hello!"


async def test_a_404_about_the_request_is_the_answer() -> None:
    words = b'{"error":{"message":"Response with id resp_1 not found.","param":"response_id"}}'
    async with chat_server(HELLO) as (stand_in, url), server(relayed(url)) as client:
        stand_in.status = 404
        stand_in.routes[RESPONSES] = lambda _: words
        said = await client.post(RESPONSES, json=response(previous_response_id="resp_1"))
    assert said.status_code == 400
    assert "resp_1 not found" in said.json()["error"]["message"]
    assert stand_in.asked_at(CHAT) == []


FAILURES = {
    "OpenAI's": event({"error": {"message": "out of blocks", "code": 500}}),
    "vLLM's older": event({"object": "error", "message": "out of blocks", "code": 500}),
    "llama-server's older": b'error: {"message": "out of blocks", "code": 500}\n\n',
    "no JSON": b"data: out of blocks\n\n",
    "given up": chunk({}, "abort"),
}


@pytest.mark.parametrize("form", FAILURES)
@pytest.mark.parametrize("path", [MESSAGES, RESPONSES])
async def test_a_failure_in_mid_stream_is_one_error_in_the_dialect(form: str, path: str) -> None:
    said = [*HELLO[:2], FAILURES[form]]
    async with chat_server(said) as (_, url), server(relayed(url)) as client:
        asked = message(stream=True) if path == MESSAGES else response(stream=True)
        seen = events((await client.post(path, json=asked)).text)
    assert_ended_by_error(seen, path)


@pytest.mark.parametrize("path", [MESSAGES, RESPONSES])
async def test_a_server_that_dies_in_mid_stream_is_one_error_in_the_dialect(path: str) -> None:
    async with chat_server(HELLO[:3]) as (stand_in, url), server(relayed(url)) as client:
        stand_in.breaks_off = True
        asked = message(stream=True) if path == MESSAGES else response(stream=True)
        seen = events((await client.post(path, json=asked)).text)
    assert_ended_by_error(seen, path)


async def test_a_stream_that_ends_without_an_end_is_an_error() -> None:
    async with chat_server(HELLO[:3]) as (_, url), server(relayed(url)) as client:
        seen = events((await client.post(MESSAGES, json=message(stream=True))).text)
        whole = await client.post(MESSAGES, json=message())
    assert_ended_by_error(seen, MESSAGES)
    assert whole.status_code == 503
    assert "without saying that it was over" in whole.json()["error"]["message"]


def assert_ended_by_error(seen: list[Any], path: str) -> None:
    kinds = [each["type"] for each in seen]
    last = "error" if path == MESSAGES else "response.failed"
    assert kinds[-1] == last
    assert kinds.count(last) == 1
    assert "message_stop" not in kinds


ENVELOPES = {
    "OpenAI's": b'{"error":{"message":"too long","param":"messages","code":"too_long"}}',
    "vLLM's older": b'{"object":"error","message":"too long","code":400}',
    "FastAPI's": b'{"detail":"too long"}',
    "a word": b'{"error":"too long"}',
    "plain text": b"too long",
    "HTML": b"<html><h1>too long</h1></html>",
}


@pytest.mark.parametrize("form", ENVELOPES)
@pytest.mark.parametrize("path", [MESSAGES, RESPONSES])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_refusal_comes_in_the_dialects_envelope(form: str, path: str, stream: bool) -> None:
    async with chat_server() as (stand_in, url), server(relayed(url)) as client:

        def refuse(_: Any) -> bytes:
            stand_in.status = 400
            return ENVELOPES[form]

        stand_in.routes[CHAT] = refuse
        asked = message(stream=stream) if path == MESSAGES else response(stream=stream)
        refused = await client.post(path, json=asked)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert "too long" in error["message"]
    assert error["type"] == "invalid_request_error"
    assert refused.json().get("type") == ("error" if path == MESSAGES else None)


@pytest.mark.parametrize("path", [MESSAGES, RESPONSES])
@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_closes_the_servers_connection_within_100_ms(
    path: str, after: int, stream: bool
) -> None:
    async with chat_server(HELLO) as (stand_in, url), application(relayed(url)) as app:
        stand_in.stays_after = after
        asked = message(stream=stream) if path == MESSAGES else response(stream=stream)
        call = Call(app, path, asked)
        running = asyncio.create_task(call.run())
        await stand_in.began.wait()
        if stream and after:
            await call.arrived.wait()
        left = asyncio.get_running_loop().time()
        call.leave()
        await running
        await asyncio.wait_for(stand_in.left.wait(), 5)
        assert stand_in.left_at - left < 0.1
        assert app.state.gateway.busy == 0


@pytest.mark.parametrize("path", [MESSAGES, CHAT])
@pytest.mark.parametrize("after", [0, 2])
async def test_a_server_that_falls_silent_in_a_stream_is_disconnected(
    path: str, after: int
) -> None:
    async with chat_server(HELLO) as (stand_in, url):
        stand_in.stays_after = after
        backend = OpenAIBackend("stand-in", url, UPSTREAM, silence=0.05)
        async with server(PassthroughModel("ours", backend, "trtllm")) as client:
            answer = await client.post(path, json=message(stream=True))
            whole = await client.post(MESSAGES, json=message())
        await asyncio.wait_for(stand_in.left.wait(), 5)
    begun = answer.status_code == 200
    error = (events(answer.text)[-1] if begun else answer.json())["error"]
    assert "stand-in sent nothing for 0.05 s" in error["message"]
    assert error["type"] == "timeout_error"
    assert whole.status_code == 504


async def test_a_client_that_left_early_causes_no_request() -> None:
    async with chat_server(HELLO) as (stand_in, url), application(relayed(url)) as app:
        call = Call(app, MESSAGES, message())
        call.leave()
        await call.run()
    assert stand_in.asked == []


async def test_tokens_are_counted_by_the_servers_own_tokenizer() -> None:
    async with chat_server() as (stand_in, url), server(relayed(url)) as client:
        stand_in.routes["/tokenize"] = lambda _: b'{"count":5,"max_model_len":9,"tokens":[1]}'
        said = await client.post(COUNT, json={"model": "ours", "messages": user("Hi")})
    assert said.json() == {"input_tokens": 5}
    assert stand_in.asked_at("/tokenize") == [{"model": UPSTREAM, "messages": user("Hi")}]


async def test_tokens_are_counted_by_a_llama_server_in_two_steps() -> None:
    def tokens(asked: dict[str, Any]) -> bytes:
        return b'{"tokens":[1,2,3]}' if asked.get("content") == "<s>Hi" else b'{"tokens":[]}'

    async with chat_server() as (stand_in, url), server(relayed(url)) as client:
        stand_in.routes |= {
            "/tokenize": tokens,
            "/apply-template": lambda _: b'{"prompt":"<s>Hi"}',
        }
        said = await client.post(COUNT, json={"model": "ours", "messages": user("Hi")})
    assert said.json() == {"input_tokens": 3}


async def test_a_server_that_counts_tokens_itself_gets_no_other_request() -> None:
    async with chat_server() as (stand_in, url), server(relayed(url)) as client:
        stand_in.routes[COUNT] = lambda _: b'{"input_tokens":42}'
        said = await client.post(COUNT, json={"model": "ours", "messages": user("Hi")})
    assert said.json() == {"input_tokens": 42}
    assert [path for path, _ in stand_in.asked] == [COUNT]


async def test_a_server_that_cannot_count_is_a_404_that_says_why() -> None:
    async with chat_server(HELLO) as (_, url), server(relayed(url)) as client:
        said = await client.post(COUNT, json={"model": "ours", "messages": user("Hi")})
    assert said.status_code == 404
    assert said.json()["error"]["type"] == "not_found_error"
    assert "ours is served by trtllm, which counts no tokens" in said.json()["error"]["message"]


async def test_the_anthropic_client_reads_a_translated_stream() -> None:
    async with chat_server(CALL) as (_, url), server(relayed(url)) as client:
        sdk = anthropic.AsyncAnthropic(api_key="x", base_url=str(client.base_url), max_retries=0)
        tools: Any = [{"name": "look", "input_schema": LOOK}]
        async with sdk.messages.stream(
            model="ours",
            max_tokens=50,
            messages=user("Hi"),
            tools=tools,  # type: ignore[arg-type]
        ) as stream:
            said = await stream.get_final_message()
        await sdk.close()
    assert [block.type for block in said.content] == ["text", "tool_use", "tool_use"]
    assert (said.usage.input_tokens, said.usage.output_tokens) == (11, 7)


async def test_the_openai_client_reads_a_translated_response() -> None:
    async with chat_server(REASONED) as (_, url), server(relayed(url)) as client:
        sdk = openai.AsyncOpenAI(api_key="x", base_url=f"{client.base_url}/v1", max_retries=0)
        async with sdk.responses.stream(model="ours", input="Hi") as stream:
            said = await stream.get_final_response()
        await sdk.close()
    assert said.output_text == "Hello"
    assert said.usage is not None
    assert said.usage.total_tokens == 18
