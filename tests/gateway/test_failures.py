from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from fakes.backend import FakeBackend
from gateway.harness import Call, application, events, ids, served, server, user

import enginix.errors
from enginix.errors import BackendTimedOut, BackendUnavailable, EnginixError, GenerationFailed
from enginix.gateway.http.errors import INTERNAL, STATUS, failure_of
from enginix.gateway.settings import LoadLimits, RequestLimits, Settings

REPLY = ids("One two three")


def every_error() -> list[type[EnginixError]]:
    members = vars(enginix.errors).values()
    return [kind for kind in members if isinstance(kind, type) and issubclass(kind, EnginixError)]


@pytest.mark.parametrize("kind", every_error())
def test_every_error_has_a_status_or_is_internal(kind: type[EnginixError]) -> None:
    line = set(kind.__mro__)
    assert kind is EnginixError or bool(line & STATUS.keys()) != bool(line & INTERNAL)


def test_an_internal_error_reveals_nothing_internal() -> None:
    assert "secret" not in failure_of(ValueError("secret")).message


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BackendUnavailable("gone"), 503),
        (BackendTimedOut("late"), 504),
        (GenerationFailed("no"), 502),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_an_error_before_the_first_token_is_a_status(
    error: Any, status: int, stream: bool
) -> None:
    backend = FakeBackend(REPLY, fails_at=0, error=error)
    async with server(served(backend)) as client:
        body = {"messages": user("Hi"), "stream": stream}
        response = await client.post("/v1/chat/completions", json=body)
    assert response.status_code == status
    assert response.json()["error"]["message"] == str(error)
    assert ("retry-after" in response.headers) == (status == 503)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("response_format", {"type": "regex", "pattern": "("}),
        ("structured_outputs", {"regex": "("}),
        ("guided_regex", "("),
    ],
)
async def test_a_guide_the_engine_cannot_follow_is_the_clients_mistake(
    path: str, param: str, value: Any
) -> None:
    error = GenerationFailed("the guide is no usable regex: unclosed group")
    backend = FakeBackend(REPLY, fails_at=0, error=error)
    asked = {"messages": user("Hi")} if "chat" in path else {"prompt": "Hi"}
    async with server(served(backend)) as client:
        response = await client.post(path, json={**asked, param: value})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


async def test_an_error_in_mid_stream_is_the_last_event() -> None:
    backend = FakeBackend(REPLY, fails_at=2, error=BackendUnavailable("gone"))
    async with server(served(backend)) as client:
        body = {"messages": user("Hi"), "stream": True}
        response = await client.post("/v1/chat/completions", json=body)
    last = events(response.text)[-1]
    assert last["error"]["message"] == "gone"
    assert "[DONE]" not in response.text


async def test_an_interrupted_answer_without_streaming_is_an_error_status() -> None:
    backend = FakeBackend(REPLY, fails_at=2, error=BackendUnavailable("gone"))
    async with server(served(backend)) as client:
        response = await client.post("/v1/chat/completions", json={"messages": user("Hi")})
    assert response.status_code == 503


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "JSON"),
        (b"hello", "JSON"),
        (b'{"messages": [}', "JSON"),
        (b'{"messages": "\xff"}', "JSON"),
        (b"[" * 100_000, "100 levels deep"),
        (b'{"seed": 1e999}', "JSON"),
        (b'{"temperature": NaN}', "JSON"),
        (b'"\\ud800"', "JSON"),
        (b"[]", "object"),
        (b"null", "object"),
        (b"5", "object"),
        (b"{}", "messages is missing"),
        (b'{"messages": [], "seed": 123456789012345678901234567890}', "template"),
        (b'{"messages": [], "n": 1e300}', "at most 2147483647, got 1e"),
        (b'{"messages": [], "max_tokens": 1e300}', "template"),
        (b'{"messages": [], "x": ' + b"[" * 999 + b"]" * 999 + b"}", "levels deep"),
    ],
)
async def test_garbage_is_refused_in_openais_shape(content: bytes, words: str) -> None:
    async with server(served(FakeBackend(REPLY))) as client:
        response = await client.post("/v1/chat/completions", content=content)
    error = response.json()["error"]
    assert response.status_code == 400
    assert set(error) == {"message", "type", "param", "code"}
    assert words in error["message"]


async def test_huge_and_negative_numbers_do_not_cause_a_500() -> None:
    async with server(served(FakeBackend(REPLY))) as client:
        for field in ("seed", "max_tokens", "n", "top_k", "min_tokens", "temperature"):
            for number in ("-1", "1e300", "9" * 30, "-" + "9" * 18, "9" * 18):
                content = (
                    f'{{"messages": [{{"role": "user", "content": "x"}}], "{field}": {number}}}'
                )
                response = await client.post("/v1/chat/completions", content=content.encode())
                assert response.status_code in (200, 400), (field, number, response.text)
        for number in ("1e300", "9" * 30):
            content = f'{{"input": "x", "max_output_tokens": {number}}}'
            response = await client.post("/v1/responses", content=content.encode())
            assert response.status_code == 200, response.text


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels // 2):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


@pytest.mark.parametrize("levels", [50, 90, 98, 110, 260, 400])
async def test_deep_schemas_do_not_cause_a_500(levels: int) -> None:
    deep = nested(levels)
    function = {"name": "f", "parameters": deep}
    format = {"type": "json_schema", "name": "x", "schema": deep}
    chat = {"messages": user("Hi")}
    bodies = [
        ("/v1/chat/completions", {**chat, "tools": [{"type": "function", "function": function}]}),
        (
            "/v1/chat/completions",
            {**chat, "response_format": {"type": "json_schema", "json_schema": format}},
        ),
        ("/v1/responses", {"input": "Hi", "text": {"format": format}}),
        ("/v1/responses", {"input": "Hi", "tools": [{"type": "function", **function}]}),
        (
            "/v1/messages",
            {**chat, "max_tokens": 5, "tools": [{"name": "f", "input_schema": deep}]},
        ),
    ]
    async with server(served(FakeBackend(REPLY), context=8192)) as client:
        for path, body in bodies:
            response = await client.post(path, json=body)
            assert response.status_code == (200 if levels < 95 else 400), (path, response.text)


async def test_a_compressed_body_is_refused_as_such() -> None:
    async with server(served(FakeBackend(REPLY))) as client:
        response = await client.post(
            "/v1/chat/completions", content=b"\x1f\x8b", headers={"Content-Encoding": "gzip"}
        )
    assert response.status_code == 400
    assert "gzip" in response.json()["error"]["message"]


async def test_nul_bytes_are_text() -> None:
    async with server(served(FakeBackend(REPLY))) as client:
        response = await client.post(
            "/v1/chat/completions",
            content=b'{"messages": [{"role": "user", "content": "a\\u0000b"}]}',
        )
    assert response.status_code == 200


async def test_a_function_without_a_name_is_refused_in_plain_words() -> None:
    tool = {"type": "function", "function": {"name": ""}}
    async with server(served(FakeBackend(REPLY))) as client:
        body = {"messages": user("Hi"), "tools": [tool]}
        response = await client.post("/v1/chat/completions", json=body)
    error = response.json()["error"]
    assert error["message"] == "tools[0].function.name: expected at least 1 character, got ''"


@pytest.mark.parametrize(
    ("path", "repair"),
    [
        ("/chat/completions", "at /v1/chat/completions: add /v1 to the end of"),
        ("/responses/", "at /v1/responses: add /v1 to the end of"),
        ("/v1/v1/messages", "at /v1/messages: remove /v1 from the end of"),
    ],
)
async def test_a_path_of_a_wrong_base_url_is_answered_with_its_repair(
    path: str, repair: str
) -> None:
    async with server(served(FakeBackend(REPLY))) as client:
        response = await client.post(path, json={"messages": user("Hi")})
    assert response.status_code == 404
    assert f"{repair} the client's base URL" in response.json()["error"]["message"]


async def test_an_unknown_route_and_a_wrong_method_have_openais_shape() -> None:
    async with server(served(FakeBackend(REPLY))) as client:
        missing = await client.get("/v1/nothing")
        wrong = await client.get("/v1/chat/completions")
    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert missing.json()["error"]["type"] == wrong.json()["error"]["type"]
    codes = [response.json()["error"]["code"] for response in (missing, wrong)]
    assert codes == ["not_found", "method_not_allowed"]
    assert wrong.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": user("Hi"), "logit_bias": {"x": 1}}),
        ("/v1/chat/completions", {"messages": user("Hi"), "tool_choice": "required"}),
        ("/v1/completions", {"prompt": []}),
        ("/v1/completions", {"prompt": [5, -1]}),
        ("/v1/responses", {"input": []}),
        ("/tokenize", {}),
    ],
)
async def test_every_refusal_has_a_param_and_a_code(path: str, body: dict[str, Any]) -> None:
    async with server(served(FakeBackend(REPLY))) as client:
        error = (await client.post(path, json=body)).json()["error"]
    assert error["param"]
    assert error["code"]


async def test_a_body_over_the_limit_is_refused_announced_or_not() -> None:
    settings = Settings(request=RequestLimits(body_bytes=1000))

    async def pieces() -> Any:
        for _ in range(20):
            yield b" " * 100

    async with server(served(FakeBackend(REPLY)), settings=settings) as client:
        announced = await client.post("/v1/chat/completions", content=b" " * 2000)
        unannounced = await client.post("/v1/chat/completions", content=pieces())
    for response in (announced, unannounced):
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "body_too_large"


async def test_a_client_that_sends_far_too_much_still_reads_why() -> None:
    """Like most clients: send everything before reading."""
    settings = Settings(request=RequestLimits(body_bytes=1 << 20))
    body = b" " * (6 << 20)
    async with server(served(FakeBackend(REPLY)), settings=settings) as client:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        writer.close()
    assert b" 413 " in answer.split(b"\r\n")[0]


async def test_a_body_that_never_ends_is_not_waited_for() -> None:
    settings = Settings(request=RequestLimits(body_seconds=0.2))
    async with server(served(FakeBackend(REPLY)), settings=settings) as client:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n")
        writer.write(b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        writer.close()
    assert b" 408 " in answer.split(b"\r\n")[0]


async def test_a_full_queue_refuses_at_once_and_says_when_to_retry() -> None:
    backend = FakeBackend(REPLY, stops_at=0)
    settings = Settings(load=LoadLimits(running=1, waiting=0))
    async with application(served(backend), settings=settings) as app:
        body = {"messages": user("Hi")}
        first = Call(app, "/v1/chat/completions", body)
        running = asyncio.create_task(first.run())
        await backend.stuck.wait()
        second = Call(app, "/v1/chat/completions", body)
        await second.run()
        backend.go.set()
        await running
    assert second.sent[0]["status"] == 429
    assert (b"retry-after", b"1") in second.sent[0]["headers"]
    assert json.loads(first.body)["choices"][0]["finish_reason"] == "stop"


async def test_who_waits_is_answered_in_turn() -> None:
    settings = Settings(load=LoadLimits(running=1, waiting=10))
    async with server(served(FakeBackend(REPLY)), settings=settings) as client:
        body = {"messages": user("Hi")}
        answers = await asyncio.gather(
            *(client.post("/v1/chat/completions", json=body) for _ in range(10))
        )
    assert [answer.status_code for answer in answers] == [200] * 10


async def test_a_stopping_server_finishes_running_requests_and_accepts_no_new_ones() -> None:
    backend = FakeBackend(REPLY, stops_at=1)
    async with application(served(backend)) as app:
        body = {"messages": user("Hi"), "stream": True}
        first = Call(app, "/v1/chat/completions", body)
        running = asyncio.create_task(first.run())
        await backend.stuck.wait()
        app.state.gateway.stopping = True
        second = Call(app, "/v1/chat/completions", body)
        await second.run()
        backend.go.set()
        await running
    assert second.sent[0]["status"] == 503
    assert events(first.body)[-1] == "[DONE]"


async def test_an_interrupted_stream_says_why_it_ends() -> None:
    backend = FakeBackend(REPLY, stops_at=1)
    async with application(served(backend)) as app:
        call = Call(app, "/v1/chat/completions", {"messages": user("Hi"), "stream": True})
        running = asyncio.create_task(call.run())
        await backend.stuck.wait()
        app.state.gateway.interrupt()
        await running
    assert events(call.body)[-1]["error"]["code"] == "shutting_down"
    assert call.sent[-1]["more_body"] is False
    assert backend.running == 0


async def test_while_no_token_comes_the_stream_begins_with_comments() -> None:
    backend = FakeBackend(REPLY, stops_at=0)
    settings = Settings(load=LoadLimits(keep_awake=0.01))
    async with application(served(backend), settings=settings) as app:
        call = Call(app, "/v1/chat/completions", {"messages": user("Hi"), "stream": True})
        running = asyncio.create_task(call.run())
        await call.arrived.wait()
        backend.go.set()
        await running
    assert call.body.startswith(b": waiting")
    assert events(call.body)[-1] == "[DONE]"


async def test_a_fault_of_ours_is_a_500_with_an_id_and_no_inside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error: Any = ZeroDivisionError("inside")
    backend = FakeBackend(REPLY, fails_at=0, error=error)
    async with server(served(backend)) as client:
        response = await client.post("/v1/chat/completions", json={"messages": user("Hi")})
    assert response.status_code == 500
    assert "inside" not in response.text
    assert response.headers["x-request-id"] in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_a_bug_in_a_route_is_a_500_in_our_envelope_that_reveals_nothing() -> None:
    async with application(served(FakeBackend())) as app:

        @app.get("/bug")
        async def bug() -> None:
            raise ZeroDivisionError("a secret")

        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer = await client.get("/bug")
    assert answer.status_code == 500
    assert "its log says why" in answer.json()["error"]["message"]
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"]
