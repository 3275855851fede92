"""Requests for models of other servers pass through, and so do the bytes of their answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fakes.backend import FakeBackend
from fakes.recorded_server import replaying
from fakes.wedged_server import Server
from gateway.harness import Call, application, events, ids, served, server, user
from hypothesis import given
from hypothesis import strategies as st

from enginix.backends.openai.rename import Rename
from enginix.backends.openai.server import OpenAIBackend
from enginix.backends.openai.sse import EventReader
from enginix.backends.openai.usage import ServerUsage, usage_in
from enginix.gateway.models.registry import PassthroughModel
from enginix.gateway.passthrough.dialect import is_terminal

CHAT = "/v1/chat/completions"
UPSTREAM = "models/Their-30B"


@asynccontextmanager
async def upstream() -> AsyncIterator[tuple[Server, str]]:
    """The stand-in in this event loop."""
    stand_in = Server()
    listening = await asyncio.start_server(stand_in.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        yield stand_in, f"http://127.0.0.1:{port}"
    finally:
        listening.close()
        stand_in.close()


@asynccontextmanager
async def raw_upstream(answer: bytes) -> AsyncIterator[str]:
    """Answers every request with these bytes and closes the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()


def relayed(url: str, **options: Any) -> PassthroughModel:
    return PassthroughModel("ours", OpenAIBackend("stand-in", url, UPSTREAM), "vllm", **options)


async def test_a_stream_comes_through_event_by_event_under_our_name() -> None:
    async with upstream() as (stand_in, url), server(relayed(url)) as client:
        body = {"model": "ours", "messages": user("Hi"), "stream": True, "x_unknown": [1]}
        answer = await client.post(CHAT, json=body)
    *chunks, done = events(answer.text)
    assert done == "[DONE]"
    assert {chunk["model"] for chunk in chunks} == {"ours"}
    text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
    assert text == "The capital of France is Paris."
    assert answer.headers["x-accel-buffering"] == "no"
    assert stand_in.asked == [{**body, "model": UPSTREAM}]


async def test_a_complete_answer_passes_through_under_our_name() -> None:
    async with upstream() as (_, url), server(relayed(url)) as client:
        answer = await client.post(CHAT, json={"model": "ours", "messages": user("Hi")})
        metrics = (await client.get("/metrics")).text
    assert answer.json()["model"] == "ours"
    assert answer.json()["choices"][0]["message"]["content"].endswith("Paris.")
    assert 'enginix_generated_tokens_total{model="ours"} 7.0' in metrics
    assert 'enginix_prompt_tokens_total{model="ours"} 3.0' in metrics


async def test_two_kinds_of_models_are_served_on_one_port() -> None:
    async with upstream() as (stand_in, url):
        own = served(FakeBackend(ids("I am demo")))
        async with server(own, relayed(url, aliases=("theirs",), contains=("qwen",))) as client:
            said = {}
            for name in ("demo", "ours", "theirs", "Some-QWEN-72B"):
                answer = await client.post(CHAT, json={"model": name, "messages": user("Hi")})
                said[name] = answer.json()["model"]
            unknown = await client.post(CHAT, json={"model": "gpt-9", "messages": user("Hi")})
            nameless = await client.post(CHAT, json={"messages": user("Hi")})
            listed = (await client.get("/v1/models")).json()["data"]
    assert said == {"demo": "demo", "ours": "ours", "theirs": "ours", "Some-QWEN-72B": "ours"}
    assert unknown.status_code == 404
    assert "this server has demo, ours, theirs" in unknown.json()["error"]["message"]
    assert nameless.json()["error"]["code"] == "model_missing"
    assert [entry["id"] for entry in listed] == ["demo", "ours"]
    assert len(stand_in.asked) == 3


async def test_a_route_that_needs_the_tokenizer_names_the_alternative() -> None:
    async with upstream() as (_, url), server(relayed(url)) as client:
        answer = await client.post("/tokenize", json={"model": "ours", "prompt": "Hi"})
    assert answer.status_code == 400
    assert "ours is served by vllm" in answer.json()["error"]["message"]


async def test_one_connection_serves_one_request_after_the_other() -> None:
    async with upstream() as (stand_in, url), server(relayed(url)) as client:
        for stream in (True, False, True):
            body = {"model": "ours", "messages": user("Hi"), "stream": stream}
            assert (await client.post(CHAT, json=body)).status_code == 200
    assert stand_in.connections == 1


async def test_a_connection_that_was_closed_while_idle_is_not_a_failure() -> None:
    async with upstream() as (stand_in, url), server(relayed(url)) as client:
        body = {"model": "ours", "messages": user("Hi")}
        assert (await client.post(CHAT, json=body)).status_code == 200
        stand_in.close()
        assert (await client.post(CHAT, json=body)).status_code == 200
    assert stand_in.connections == 2


@pytest.mark.parametrize("how", ["silent", "hollow", ""])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_ends_the_servers_work(how: str, stream: bool) -> None:
    async with upstream() as (stand_in, url), application(relayed(url)) as app:
        stand_in.how = how
        stand_in.stays = how == ""
        asked = {"model": "ours", "messages": user("Hi"), "stream": stream, "max_tokens": 10**6}
        call = Call(app, CHAT, asked)
        running = asyncio.create_task(call.run())
        await stand_in.began.wait()
        if how == "" and stream:
            await call.arrived.wait()
        assert stand_in.running == 1
        call.leave()
        await running
        await until(stand_in, lambda: stand_in.running == 0)
        assert app.state.gateway.busy == 0


async def until(stand_in: Server, true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            stand_in.left.clear()
            await stand_in.left.wait()


async def test_a_client_that_left_early_causes_no_request_to_the_server() -> None:
    async with upstream() as (stand_in, url), application(relayed(url)) as app:
        call = Call(app, CHAT, {"model": "ours", "messages": user("Hi")})
        call.leave()
        await call.run()
    assert stand_in.asked == []


ENVELOPES = {
    "OpenAI's": {"error": {"message": "too long", "param": "messages", "code": "too_long"}},
    "vLLM's older": {"object": "error", "message": "too long", "code": 400},
    "FastAPI's": {"detail": "too long"},
    "a word": {"error": "too long"},
}


def http(status: int, body: bytes, kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize("form", ENVELOPES)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_refusal_comes_through_in_our_envelope(form: str, stream: bool) -> None:
    answer = http(400, json.dumps(ENVELOPES[form]).encode())
    async with raw_upstream(answer) as url, server(relayed(url)) as client:
        body = {"model": "ours", "messages": user("Hi"), "stream": stream}
        refused = await client.post(CHAT, json=body)
    assert refused.status_code == 400
    assert refused.json()["error"]["message"] == "too long"
    assert refused.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("status", "ours", "code"),
    [
        (401, 502, "backend_error"),
        (404, 400, "invalid_value"),
        (422, 400, "invalid_value"),
        (429, 429, "overloaded"),
        (500, 502, "backend_error"),
        (503, 503, "backend_unavailable"),
        (504, 504, "backend_timed_out"),
    ],
)
async def test_every_status_has_its_meaning(status: int, ours: int, code: str | None) -> None:
    async with raw_upstream(http(status, b"<h1>no</h1>")) as url, server(relayed(url)) as client:
        answer = await client.post(CHAT, json={"model": "ours", "messages": user("Hi")})
    assert answer.status_code == ours
    assert answer.json()["error"]["code"] == code
    assert "no" in answer.json()["error"]["message"]


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
CHUNK = b'data: {"model": "models/Their-30B", "choices": []}\n\n'


@pytest.mark.parametrize(
    "answer",
    [
        STREAM + CHUNK,
        STREAM + CHUNK + b'data: {"mod',
        STREAM.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")
        + b"%x\r\n%b\r\n" % (len(CHUNK), CHUNK),
    ],
    ids=["between events", "within an event", "within a chunked body"],
)
async def test_a_stream_that_breaks_off_ends_with_an_error_and_no_done(answer: bytes) -> None:
    async with raw_upstream(answer) as url, server(relayed(url)) as client:
        body = {"model": "ours", "messages": user("Hi"), "stream": True}
        first, last = events((await client.post(CHAT, json=body)).text)
    assert first["model"] == "ours"
    assert last["error"]["code"] == "backend_unavailable"


@pytest.mark.parametrize(
    ("answer", "status"),
    [(b"", 503), (b"garbage\r\n\r\n", 503), (http(200, b"{}"), 502)],
    ids=["nothing", "garbage", "no stream"],
)
async def test_an_answer_that_is_none_is_an_error_before_the_first_byte(
    answer: bytes, status: int
) -> None:
    async with raw_upstream(answer) as url, server(relayed(url)) as client:
        body = {"model": "ours", "messages": user("Hi"), "stream": True}
        got = await client.post(CHAT, json=body)
    assert got.status_code == status
    assert "stand-in" in got.json()["error"]["message"]


async def test_a_server_that_is_not_there_is_red_in_health_and_a_503() -> None:
    async with upstream() as (_, url):
        pass
    async with server(relayed(url)) as client:
        answer = await client.post(CHAT, json={"model": "ours", "messages": user("Hi")})
        health = await client.get("/health")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "cannot be reached" in health.json()["models"]["ours"]["reason"]


MESSAGES, RESPONSES = "/v1/messages", "/v1/responses"


@pytest.mark.parametrize("path", [MESSAGES, RESPONSES])
async def test_a_dialect_that_breaks_off_ends_with_its_own_error(path: str) -> None:
    begun = b'event: x\ndata: {"type":"x","sequence_number":41,"model":"models/Their-30B"}\n\n'
    async with raw_upstream(STREAM + begun) as url, server(relayed(url)) as client:
        body = {"model": "ours", "messages": user("Hi"), "input": "Hi", "stream": True}
        answer = await client.post(path, json={**body, "max_tokens": 9})
    _, last = events(answer.text)
    assert "event: error\ndata: " in answer.text
    assert last["type"] == "error"
    if path == MESSAGES:
        assert last["error"]["type"] == "overloaded_error"
    else:
        assert (last["code"], last["sequence_number"]) == ("backend_unavailable", 42)


@pytest.mark.parametrize(
    ("path", "last"),
    [
        (MESSAGES, b'event: message_stop\ndata: {"type":"message_stop"}\n\n'),
        (MESSAGES, b'event: message_stop\ndata: {"type":"message_stop"}\n\ndata: [DONE]\n\n'),
        (RESPONSES, b'event: x\ndata: {"type":"response.completed","response":{}}\n\n'),
        (RESPONSES, b'event: x\ndata: {"response":{},"type": "response.incomplete"}\n\n'),
        (CHAT, b"data: [DONE]\n\n"),
        (CHAT, b"data: [DONE]"),
        (CHAT, b"data:[DONE]\n"),
    ],
)
async def test_every_way_to_end_is_an_end(path: str, last: bytes) -> None:
    async with raw_upstream(STREAM + CHUNK + last) as url, server(relayed(url)) as client:
        body = {"model": "ours", "messages": user("Hi"), "input": "Hi", "stream": True}
        answer = await client.post(path, json={**body, "max_tokens": 9})
    assert "error" not in answer.text
    assert answer.text.startswith('data: {"model":"ours"')
    assert answer.content.endswith(last.rstrip() + b"\n\n")


async def test_all_that_came_precedes_the_error_of_a_stream_that_ends_too_early() -> None:
    said = CHUNK * 3
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n"
    async with raw_upstream(head % len(said) + said) as url, server(relayed(url)) as client:
        body = {"model": "ours", "messages": user("Hi"), "stream": True}
        answer = await client.post(CHAT, json=body)
    assert answer.content.count(b'"model":"ours"') == 3
    *_, last = events(answer.text)
    assert last["error"]["code"] == "backend_unavailable"


async def test_a_server_may_break_its_lines_as_dos_did() -> None:
    said = (CHUNK * 3 + b"data: [DONE]\n\n").replace(b"\n", b"\r\n")
    async with raw_upstream(STREAM + said) as url, server(relayed(url)) as client:
        body = {"model": "ours", "messages": user("Hi"), "stream": True}
        answer = await client.post(CHAT, json=body)
    assert answer.content.count(b'"model":"ours"') == 3
    assert answer.content.endswith(b"data: [DONE]\r\n\r\n")


async def test_usage_that_came_before_the_last_read_is_counted() -> None:
    usage = b'{"prompt_tokens":3,"prompt_tokens_details":{"cached_tokens":1},"completion_tokens":2}'
    said = CHUNK * 4 + b'data: {"choices":[],"usage":%b}\n\n' % usage + b"data: [DONE]\n\n"
    async with raw_upstream(STREAM + said) as url, server(relayed(url)) as client:
        body = {"model": "ours", "messages": user("Hi"), "stream": True}
        await client.post(CHAT, json=body)
        metrics = (await client.get("/metrics")).text
    assert 'enginix_generated_tokens_total{model="ours"} 2.0' in metrics
    assert 'enginix_prompt_tokens_total{model="ours"} 3.0' in metrics
    assert 'enginix_cached_prompt_tokens_total{model="ours"} 1.0' in metrics


async def test_a_prompt_that_was_counted_at_the_streams_start_is_counted_here() -> None:
    counts = b'{"input_tokens":1,"cache_read_input_tokens":14,"output_tokens":0}'
    pieces = [
        STREAM.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        b'data: {"type":"message_start","message":{"usage":%b}}\n\n' % counts,
        *[b'data: {"type":"content_block_delta"}\n\n'] * 20,
        b'data: {"type":"message_delta","usage":{"output_tokens":3}}\n\n',
        b'data: {"type":"message_stop"}\n\n',
    ]
    async with replaying("/v1/messages", pieces) as url, server(relayed(url)) as client:
        body = {"model": "ours", "messages": user("Hi"), "max_tokens": 3, "stream": True}
        await client.post("/v1/messages", json=body)
        metrics = (await client.get("/metrics")).text
    assert 'enginix_prompt_tokens_total{model="ours"} 15.0' in metrics
    assert 'enginix_cached_prompt_tokens_total{model="ours"} 14.0' in metrics
    assert 'enginix_generated_tokens_total{model="ours"} 3.0' in metrics


async def test_a_choice_between_servers_stays_here() -> None:
    async with upstream() as (stand_in, url), server(relayed(url)) as client:
        body = {"model": "ours", "messages": user("Hi"), "engine": "vllm"}
        assert (await client.post(CHAT, json=body)).status_code == 200
    assert "engine" not in stand_in.asked[0]


async def test_a_value_that_cannot_be_serialized_is_refused_by_name() -> None:
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    async with upstream() as (stand_in, url), server(relayed(url)) as client:
        answer = await client.post(CHAT, json={"model": "ours", "messages": [], "metadata": deep})
    assert answer.status_code == 400
    assert "levels deep" in answer.json()["error"]["message"]
    assert stand_in.asked == []


def chunkings(data: bytes) -> list[list[bytes]]:
    return [
        [data[start : start + size] for start in range(0, len(data), size)]
        for size in (1, 2, 7, 40, len(data))
    ]


@pytest.mark.parametrize("line_break", [b"\n", b"\r\n"])
def test_events_come_out_complete_for_every_chunking(line_break: bytes) -> None:
    data = b"data: one\n\n: note\n\ndata: [DONE]\n\n".replace(b"\n", line_break)
    for pieces in chunkings(data):
        cut = EventReader()
        out = [whole for piece in pieces if (whole := cut.feed(piece))]
        assert b"".join(out) == data
        assert all(whole.endswith(line_break * 2) for whole in out)
        assert not cut.is_cut
        assert is_terminal(cut.last, CHAT)


def test_only_the_key_is_renamed_and_never_a_text_that_looks_like_it() -> None:
    text = json.dumps({"model": "m", "content": '"model":"m"', "x": ["m"]}).encode()
    renamed = json.loads(Rename("o'\"urs").feed(text))
    assert renamed == {"model": "o'\"urs", "content": '"model":"m"', "x": ["m"]}


ECHOES = {
    "metadata": {"metadata": {"model": "mine"}, "model": "theirs"},
    "a tool": {"tools": [{"parameters": {"default": {"model": "x"}}}], "model": "theirs"},
    "a response": {"response": {"metadata": {"model": "mine"}, "model": "theirs"}},
    "a message": {"type": "message_start", "message": {"x": {"model": "m"}, "model": "theirs"}},
    "a nested echo that comes last": {"model": "theirs", "metadata": {"model": "mine"}},
}


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("form", ["document", "event"])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_an_echo_of_the_key_is_not_the_model(
    echo: str, form: str, separators: tuple[str, str]
) -> None:
    text = json.dumps(ECHOES[echo], separators=separators)
    data = text if form == "document" else f"event: x\ndata: {text}\n\n"
    expected = json.loads(text.replace('"theirs"', '"ours"'))
    renamed = Rename("ours").feed(data.encode()).decode()
    assert json.loads(renamed if form == "document" else renamed.splitlines()[1][6:]) == expected


def test_a_name_is_found_however_it_is_spelled() -> None:
    rename = Rename("ours")
    assert rename.feed(b'data: {"x":1}\n\n') == b'data: {"x":1}\n\n'
    spelled = b'data: {"model" : "mod\\u00e8le"}\n\n'
    assert rename.feed(spelled) == b'data: {"model":"ours"}\n\n'


@given(data=st.binary(max_size=80) | st.text('"model:\\{}, x', max_size=60).map(str.encode))
def test_no_bytes_are_too_strange_to_be_passed_on(data: bytes) -> None:
    Rename("ours").feed(data)
    Rename("ours").feed(b'data: {"model":"m"}\n' + data)
    usage_in(b'{"usage"' + data)
    EventReader().feed(data)


def test_usage_is_found_in_the_last_event_that_has_it() -> None:
    body = b'data: {"usage":null}\n\ndata: {"usage":{"prompt_tokens":3,"completion_tokens": 9}}\n\n'
    assert usage_in(body) == ServerUsage(3, 9)
    nested = {"input_tokens": 5, "input_tokens_details": {"x": 1}, "output_tokens": 6}
    assert usage_in(json.dumps({"response": {"usage": nested}}).encode()) == ServerUsage(5, 6)
    assert usage_in(b"{}") is None
    assert usage_in(b'{"usage":{"prompt_tokens":-1,"completion_tokens":-1}}') is None
