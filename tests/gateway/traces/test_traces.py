"""Requests as OpenTelemetry's spans, as a collector receives them."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from fakes.backend import FakeBackend
from fakes.otlp_receiver import Receiver, attributes_of, otlp_receiver
from gateway.harness import Call, application, events, ids, served, server, user
from gateway.test_passthrough import raw_upstream, relayed, upstream
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from tritonclient.grpc import service_pb2, service_pb2_grpc

from enginix.backends.triton import TritonBackend
from enginix.errors import GenerationFailed
from enginix.gateway.app import STREAMING
from enginix.gateway.settings import Settings, TraceSettings
from enginix.gateway.traces.attributes import (
    OPERATIONS,
    PROMPT_CHARS,
    passed_attributes,
    prompt_attributes,
    request_attributes,
)
from enginix.gateway.traces.otlp import OncePerMinute
from enginix.triton.client.client import TRANSPORTS, TritonClient
from enginix.triton.client.messages import SCALARS
from enginix.triton.client.tensor_names import TensorNames

CHAT = "/v1/chat/completions"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SENT = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}
UNSET, ERROR = Status.STATUS_CODE_UNSET, Status.STATUS_CODE_ERROR
# What the attributes are read from.
KEYS = st.sampled_from(
    [
        *("model", "stream", "n", "seed", "messages", "input", "prompt", "content", "text"),
        *("role", "type", "id", "choices", "index", "finish_reason", "delta", "stop_reason"),
        *("message", "response"),
    ]
)
STAGES = ["receive", "prepare", "queue", "first_token", "stream"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with otlp_receiver() as found:
        yield found


def traced(receiver: Receiver, **options: Any) -> Settings:
    return Settings(traces=TraceSettings(receiver.endpoint, **options))


def body(**more: Any) -> dict[str, Any]:
    return {"model": "demo", "messages": user("What is SECRET?"), **more}


def only(receiver: Receiver) -> Span:
    (span,) = receiver.servers
    return span


class StandIn(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """A Triton that answers with two tokens and keeps the metadata that it was sent."""

    def __init__(self) -> None:
        self.metadata: list[dict[str, str]] = []

    async def ModelStreamInfer(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        self.metadata.append(dict(context.invocation_metadata()))
        async for request in requests:
            for token in ids("Hi!"):
                response = service_pb2.ModelInferResponse(model_name="tensorrt_llm", id=request.id)
                response.outputs.add(name="output_ids", datatype="INT32", shape=(1, 1, 1))
                response.raw_output_contents.append(token.to_bytes(4, "little"))
                yield service_pb2.ModelStreamInferResponse(infer_response=response)
            last = service_pb2.ModelInferResponse(model_name="tensorrt_llm", id=request.id)
            last.parameters["triton_final_response"].bool_param = True
            yield service_pb2.ModelStreamInferResponse(infer_response=last)


@asynccontextmanager
async def triton(transport: str = "http2") -> AsyncIterator[tuple[StandIn, TritonBackend]]:
    stand_in, listening = StandIn(), grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(stand_in, listening)
    port = listening.add_insecure_port("127.0.0.1:0")
    await listening.start()
    inputs = frozenset(tensor for _, tensor, _, _ in SCALARS)
    names = TensorNames("tensorrt_llm", inputs, frozenset())
    client = TritonClient(f"127.0.0.1:{port}", transport=transport, tensor_names=names)
    try:
        yield stand_in, TritonBackend("triton", client)
    finally:
        await listening.stop(None)


@pytest.mark.parametrize("transport", sorted(TRANSPORTS))
async def test_a_streamed_chat_is_one_span_with_its_stages_below_it_and_triton_is_told(
    receiver: Receiver, transport: str
) -> None:
    async with (
        triton(transport) as (stand_in, backend),
        server(served(backend), settings=traced(receiver)) as client,
    ):
        asked = body(stream=True, temperature=0.5, max_tokens=20, top_p=0.9)
        # The second request of a connection has a header block of its own.
        for _ in range(2):
            answer = await client.post(CHAT, json=asked, headers=SENT)
            assert answer.status_code == 200, answer.text
        completion = events(answer.text)[0]["id"]
    *_, span = receiver.servers
    assert span.name == "chat demo"
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert span.status.code == UNSET
    found = attributes_of(span)
    took = found.pop("gen_ai.response.time_to_first_chunk")
    assert 0 < took < (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
    assert found.pop("gen_ai.usage.input_tokens") > 5
    assert found == {
        "enginix.request_id": answer.headers["x-request-id"],
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "enginix",
        "gen_ai.request.max_tokens": 20,
        "gen_ai.request.model": "demo",
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.id": completion,
        "gen_ai.response.model": "demo",
        "gen_ai.usage.output_tokens": len(ids("Hi!")),
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": CHAT,
        "url.path": CHAT,
        "url.scheme": "http",
    }
    stages = receiver.stages(span)
    assert [stage.name for stage in stages] == STAGES
    assert {stage.trace_id.hex() for stage in stages} == {TRACE}
    # One after the other, and all of the request's time.
    ends = [stage.end_time_unix_nano for stage in stages]
    assert [stage.start_time_unix_nano for stage in stages] == [
        span.start_time_unix_nano,
        *ends[:-1],
    ]
    assert ends[-1] == span.end_time_unix_nano
    told = stand_in.metadata[-1]
    assert told["traceparent"] == f"00-{TRACE}-{span.span_id.hex()}-01"
    assert told["tracestate"] == "vendor=1"
    assert {each["service.name"] for each in receiver.resources} == {"enginix"}
    assert b"SECRET" not in b"".join(each.SerializeToString() for each in receiver.spans)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_server_that_requests_are_passed_to_is_told_of_the_trace(
    receiver: Receiver, stream: bool
) -> None:
    async with (
        upstream() as (stand_in, url),
        server(relayed(url), settings=traced(receiver)) as client,
    ):
        await client.post(CHAT, json=body(model="ours", stream=stream), headers=SENT)
    span = only(receiver)
    assert f"traceparent: 00-{TRACE}-{span.span_id.hex()}-01\r\n" in stand_in.heads[-1]
    assert "tracestate: vendor=1\r\n" in stand_in.heads[-1]
    found = attributes_of(span)
    assert span.name == "chat ours"
    assert found["gen_ai.usage.output_tokens"] >= 7
    assert [stage.name for stage in receiver.stages(span)] == STAGES


async def test_a_passed_reply_says_its_id_and_why_it_ended(receiver: Receiver) -> None:
    reply = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "theirs",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 1},
    }
    text = json.dumps(reply).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    async with (
        raw_upstream(head % len(text) + text) as url,
        server(relayed(url), settings=traced(receiver)) as client,
    ):
        await client.post("/v1/messages", json=body(model="ours", max_tokens=5))
    found = attributes_of(only(receiver))
    assert found["gen_ai.response.id"] == "msg_1"
    assert found["gen_ai.response.finish_reasons"] == ["end_turn"]
    assert found["gen_ai.usage.input_tokens"] == 3


@pytest.mark.parametrize(
    ("more", "status", "kind"),
    [
        ({"messages": 5}, 400, "RequestError"),
        ({"model": "gpt-9"}, 404, "ModelNotFound"),
        ({"stream": "maybe"}, 400, "RequestError"),
    ],
)
async def test_a_clients_mistake_has_a_kind_and_is_no_error_of_this_server(
    receiver: Receiver, more: Any, status: int, kind: str
) -> None:
    async with server(
        served(FakeBackend(ids("Hi"))), settings=traced(receiver, prompts=True)
    ) as client:
        assert (await client.post(CHAT, json=body(**more))).status_code == status
    span = only(receiver)
    found = attributes_of(span)
    assert (found["http.response.status_code"], found["error.type"]) == (status, kind)
    assert span.status.code == UNSET


async def test_a_request_without_a_key_is_traced_as_refused(receiver: Receiver) -> None:
    settings = Settings(api_keys=frozenset({"sk-1"}), traces=TraceSettings(receiver.endpoint))
    async with server(served(FakeBackend(ids("Hi"))), settings=settings) as client:
        assert (await client.post(CHAT, json=body())).status_code == 401
    span = only(receiver)
    assert (attributes_of(span)["error.type"], span.status.code) == ("401", UNSET)
    assert [stage.name for stage in receiver.stages(span)] == ["receive"]


@pytest.mark.parametrize(("fails_at", "stage"), [(0, "first_token"), (2, "stream")])
@pytest.mark.parametrize("stream", [True, False])
async def test_an_engine_that_fails_is_an_error_of_the_span_and_of_the_stage(
    receiver: Receiver, fails_at: int, stage: str, stream: bool
) -> None:
    backend = FakeBackend(ids("Hello there"), fails_at=fails_at, error=GenerationFailed("it died"))
    async with server(served(backend), settings=traced(receiver)) as client:
        answer = await client.post(CHAT, json=body(stream=stream))
    assert b"it died" in answer.content
    span = only(receiver)
    assert span.status.code == ERROR
    assert attributes_of(span)["error.type"] == "GenerationFailed"
    failed = [each.name for each in receiver.stages(span) if each.status.code == ERROR]
    assert failed == [stage]


async def test_a_client_that_leaves_is_no_error(receiver: Receiver) -> None:
    backend = FakeBackend(ids("Hello there"), stops_at=1)
    async with application(served(backend), settings=traced(receiver)) as app:
        call = Call(app, CHAT, body(stream=True))
        running = asyncio.create_task(call.run())
        await backend.stuck.wait()
        call.leave()
        await running
    span = only(receiver)
    assert span.status.code == UNSET
    assert attributes_of(span)["error.type"] == "ClientDisconnect"
    assert [stage.name for stage in receiver.stages(span)] == STAGES


async def test_a_request_whose_trace_is_not_recorded_leaves_no_span_and_tells_its_server_so(
    receiver: Receiver,
) -> None:
    async with (
        upstream() as (stand_in, url),
        triton() as (theirs, backend),
        server(
            served(backend), relayed(url), settings=traced(receiver, sample_ratio=0.0)
        ) as client,
    ):
        for model in ("ours", "demo"):
            await client.post(CHAT, json=body(model=model))
        unsampled = {"traceparent": SENT["traceparent"][:-1] + "0"}
        await client.post(CHAT, json=body(model="ours"), headers=unsampled)
        # The client's decision counts, not the ratio.
        await client.post(CHAT, json=body(), headers=SENT)
    (first, second) = [head.partition("traceparent: ")[2][:55] for head in stand_in.heads]
    assert int(first[-2:], 16) & 1 == 0
    assert second.startswith(f"00-{TRACE}-")
    assert second.endswith("-00")
    # It would record whatever it is told of.
    assert ["traceparent" in told for told in theirs.metadata] == [False, True]
    assert only(receiver).trace_id.hex() == TRACE


@pytest.mark.parametrize("parent", ["", "x", f"00-{'0' * 32}-{PARENT}-01", "00-é", "a" * 10_000])
async def test_a_context_that_is_none_begins_a_trace_of_its_own(
    receiver: Receiver, parent: str
) -> None:
    headers = {"traceparent": parent.encode(), "tracestate": b"a=b," * 5000}
    async with application(served(FakeBackend(ids("Hi"))), settings=traced(receiver)) as app:
        call = Call(app, CHAT, body(), {k: v.decode("utf-8") for k, v in headers.items()})
        await call.run()
    span = only(receiver)
    assert span.parent_span_id == b""
    assert span.trace_id.hex() != TRACE
    assert not span.trace_state


async def test_more_state_than_a_header_may_have_is_not_passed_on(receiver: Receiver) -> None:
    state = ",".join(f"vendor{number}={'x' * 100}" for number in range(30))
    async with (
        triton() as (stand_in, backend),
        server(served(backend), settings=traced(receiver)) as client,
    ):
        await client.post(CHAT, json=body(), headers={**SENT, "tracestate": state})
    assert only(receiver).trace_id.hex() == TRACE
    assert "tracestate" not in stand_in.metadata[0]


async def test_texts_are_in_spans_if_that_is_asked_for(receiver: Receiver) -> None:
    async with server(
        served(FakeBackend(ids("Hi"))), settings=traced(receiver, prompts=True)
    ) as client:
        await client.post(CHAT, json=body())
        await client.post("/v1/completions", json={"model": "demo", "prompt": "Once"})
    found = [attributes_of(span)["gen_ai.input.messages"] for span in receiver.servers]
    texts = [(each["role"], each["parts"]) for text in found for each in json.loads(text)]
    assert texts == [
        ("user", [{"type": "text", "content": "What is SECRET?"}]),
        ("user", [{"type": "text", "content": "Once"}]),
    ]


async def test_a_number_that_otlp_has_no_room_for_is_left_out(receiver: Receiver) -> None:
    async with server(served(FakeBackend(ids("Hi"))), settings=traced(receiver)) as client:
        assert (await client.post(CHAT, json=body(seed=2**63, top_k=5))).status_code == 200
    found = attributes_of(only(receiver))
    assert found["gen_ai.request.top_k"] == 5
    assert "gen_ai.request.seed" not in found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=30,
)


@given(JSON)
def test_whatever_a_client_or_a_server_sends_has_attributes(sent: Any) -> None:
    document = json.dumps(sent).encode()
    found = request_attributes(CHAT, sent) | prompt_attributes(sent) | passed_attributes(document)
    assert len(found.get("gen_ai.input.messages", "")) < 3 * PROMPT_CHARS


async def test_only_requests_for_a_model_are_traced(receiver: Receiver) -> None:
    async with server(served(FakeBackend(ids("Hi"))), settings=traced(receiver)) as client:
        for path in ("/health", "/metrics", "/v1/models", "/", "/v1/status", CHAT):
            await client.get(path)
        await client.post("/tokenize", json={"model": "demo", "prompt": "Hi"})
        await client.post(f"{CHAT}/", json=body())
    assert only(receiver).name == "chat demo"
    assert OPERATIONS.keys() == STREAMING.keys()


async def test_the_log_names_a_requests_trace(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "enginix.access")
    async with server(served(FakeBackend(ids("Hi"))), settings=traced(receiver)) as client:
        await client.post(CHAT, json=body(), headers=SENT)
    lines = [json.loads(each.message) for each in caplog.records if each.name == "enginix.access"]
    assert [line["trace_id"] for line in lines] == [TRACE]


async def test_requests_are_served_while_nobody_listens_at_the_endpoint(
    caplog: pytest.LogCaptureFixture,
) -> None:
    nowhere = Settings(traces=TraceSettings("http://127.0.0.1:1/v1/traces"))
    # More spans than fit into the queue.
    async with server(served(FakeBackend(ids("Hi"))), settings=nowhere) as client:
        for _ in range(600):
            assert (await client.post(CHAT, json=body(max_tokens=1))).status_code == 200
    said = [each.getMessage() for each in caplog.records if "/v1/traces" in each.getMessage()]
    assert len(said) == 1
    assert said[0].endswith("; serving goes on")


async def test_an_endpoint_that_never_answers_does_not_keep_the_gateway_from_ending(
    receiver: Receiver,
) -> None:
    receiver.answering.clear()
    async with server(served(FakeBackend(ids("Hi"))), settings=traced(receiver)) as client:
        assert (await client.post(CHAT, json=body())).status_code == 200
    # It ended while the exporter still waits, which that does for ten seconds.
    assert receiver.unanswered == 1


def test_what_opentelemetry_says_is_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = iter([100.0, 101.0, 159.0, 160.0, 161.0])
    handler = OncePerMinute("http://there", lambda: next(clock))
    for number in range(5):
        handler.handle(logging.makeLogRecord({"msg": f"lost {number}", "levelno": 40}))
    said = [each.getMessage() for each in caplog.records]
    # An exporter of an earlier test may still wait for its own endpoint.
    assert [text for text in said if "http://there" in text] == [
        "traces to http://there: lost 0; serving goes on",
        "traces to http://there: lost 3; serving goes on",
    ]


def test_opentelemetry_is_not_loaded_where_traces_are_off() -> None:
    script = """
import sys
import enginix.cli.openai
from enginix.gateway.app import create_app
create_app(list)
# Its API may be: FastAPI loads that where it is installed.
print(sorted(name for name in sys.modules if name.startswith("opentelemetry.sdk")))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
